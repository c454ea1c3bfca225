"""Why a batch size does not run: an error's words become one of a few reasons, those of the batch ladder."""

from __future__ import annotations

import re

from trtkit.errors import TrtkitError

__all__ = ["REASONS", "classify"]

REASONS = ("device_memory", "workspace", "profile", "element_limit", "host_memory", "timeout", "other")
"""See :func:`classify`."""

# In this order: a message that names a tensor's size or the workspace often speaks of memory too, and a failed
# allocation of pinned memory is the host's although CUDA reports it.
_SIGNS: dict[str, tuple[str, ...]] = {
    "timeout": ("did not finish within",),
    "element_limit": (
        r"2\^31|2\*\*31|2³¹|2147483647|INT_MAX|INT32_MAX",
        r"\bvolume\b.*(limit|exceed|too large)|too many elements|elements? .{0,40}exceed",
        r"integer overflow|size overflow|narrowing error",
    ),
    "profile": (
        r"optimization profile|profile \d|profile dimension|out of (the )?profile|not in (the )?range.{0,60}profile",
        r"kMAX|setInputShape|set_input_shape|outside.{0,40}profile",
        r"Got invalid dimensions for input",
    ),
    "workspace": (r"workspace|scratch (memory|size)|setMaxWorkspaceSize",),
    "host_memory": (
        r"host memory|host has no memory|pinned memory|cu(da)?(Mem)?(MallocHost|HostAlloc|AllocHost)",
        r"\bMemoryError\b|Unable to allocate|bad_alloc|posix_memalign|Cannot allocate memory",
        r"killed by SIGKILL|DefaultCPUAllocator",
    ),
    "device_memory": (
        r"out of memory|OutOfMemory|OUT_OF_MEMORY|CUDA (failure|error) 2\b|cudaErrorMemoryAllocation|CUDA_ERROR_OUT",
        r"allocat\w* (failed|failure|error)|failed to allocate|run-time allocation failed|STATUS_ALLOC_FAILED",
        r"BFCArena|bfc_arena|device memory|GPU memory could not be allocated",
    ),
}


def classify(error: TrtkitError, *, on_cpu: bool = False) -> str:
    """One of :data:`REASONS`, from what the error and the vendor's last lines say; ``other`` if they say nothing known.

    The message is asked first: the log also holds what went well, or earlier attempts.

    Args:
        error: what the attempt raised.
        on_cpu: whether it ran on a CPU, whose memory is the host's.
    """
    for text in (error.message, "\n".join(error.log)):
        for reason, signs in _SIGNS.items():
            if any(re.search(sign, text, re.IGNORECASE) for sign in signs):
                return "host_memory" if on_cpu and reason == "device_memory" else reason
    return "other"
