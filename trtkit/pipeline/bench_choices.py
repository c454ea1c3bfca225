"""Which batches and modes are measured: those asked for, held against what source and device allow, or usual ones."""

from __future__ import annotations

from dataclasses import dataclass

from trtkit.artifacts.bench_settings import MODES
from trtkit.artifacts.device import processors
from trtkit.errors import UsageError
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_subjects import BatchRange

__all__ = ["Batches", "batches_of", "modes_of", "too_many_threads"]

_USUAL = {"cpu": 1, "cuda": 32}
_DEFAULT_MODE = {"cpu": "compute", "cuda": "compute-graph"}
_LADDER_TOP = 2**16


@dataclass(frozen=True)
class Batches:
    """The batches of a row: a list, or (empty) a ladder from ``low`` to ``limit``."""

    listed: tuple[int, ...]
    low: int
    limit: int | None
    because: str


def batches_of(request: BenchmarkRequest, allowed: BatchRange, target: Target) -> Batches:
    """The batches of a row.

    Raises:
        UsageError: the source does not take one of them.
    """
    if request.ladder:
        limits = [(_LADDER_TOP, f"no batch above {_LADDER_TOP} is tried without --sweep-limit")]
        if request.sweep_limit is not None:
            limits = [(request.sweep_limit, "--sweep-limit")]
        if allowed.high is not None:
            limits.append((allowed.high, allowed.because))
        limit, because = min(limits)
        if limit < allowed.low:
            raise UsageError(
                f"--sweep-limit {limit} is below {allowed.low}, the smallest batch: {allowed.because}.",
                hint="Raise it, or leave it out.",
            )
        if request.profile == "shared" and request.sweep_limit is None and allowed.high is None:
            raise UsageError(
                "One engine for all batches of a ladder needs to know the largest.",
                hint="Add --sweep-limit N, or leave --profile shared out.",
            )
        return Batches((), allowed.low, limit, because)
    listed = request.batches or (allowed.usual or _USUAL[target.device.kind],)
    for batch in listed:
        if batch < allowed.low or (allowed.high is not None and batch > allowed.high):
            shown = f"{allowed.low} to {allowed.high}" if allowed.high != allowed.low else f"{allowed.low} alone"
            raise UsageError(
                f"Batch {batch} is not possible, {shown} is: {allowed.because}.", hint="Give a batch that is possible."
            )
    return Batches(listed, allowed.low, None, "")


def modes_of(request: BenchmarkRequest, target: Target) -> tuple[str, ...]:
    """The modes on a device; the usual one launches a CUDA graph on a GPU, and computes on a CPU.

    Raises:
        UsageError: the device has no such mode, or nothing that an option is about.
    """
    kind = target.device.kind
    if kind == "cpu":
        for option, changed in (
            ("--aux-streams", request.settings.get("aux_streams") is not None),
            ("--no-graph", request.settings.get("graph") is False),
            ("--no-spin", request.settings.get("spin") is False),
        ):
            if changed:
                raise UsageError(
                    f"{option} is about how a GPU is driven, and means nothing on the {target.device}.",
                    hint="Leave it out, or name a GPU with --device.",
                )
    possible = tuple(MODES) if kind == "cuda" else ("compute",)
    if request.modes == ("all",):
        return possible
    if "all" in request.modes:
        raise UsageError("--mode all is every mode that there is.", hint="Give all alone, or a list.")
    for mode in request.modes:
        if mode not in possible:
            raise UsageError(
                f"There is no mode {mode} on the {target.device}: nothing is copied to it, and nothing captured.",
                hint="Give --mode compute or all, or a GPU with --device.",
            )
    return request.modes or (_DEFAULT_MODE[kind],)


def too_many_threads(request: BenchmarkRequest, target: Target) -> str | None:
    """A sentence where more threads are asked for than the CPU device has processors; ``None`` where all can run."""
    threads, affinity = request.settings.get("threads"), request.settings.get("affinity")
    count = len(affinity) if isinstance(affinity, tuple) and affinity else len(processors(target.device))
    if target.device.kind != "cpu" or not isinstance(threads, int) or not count or threads <= count:
        return None
    have = "1 processor that there is" if count == 1 else f"{count} processors that there are"
    return (
        f"--threads {threads} is more than the {have}: threads wait for each other, and that is what is measured; "
        f"--threads {count} uses all"
    )
