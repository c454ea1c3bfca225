"""What TensorRT and Polygraphy write into their logs: kept, cleaned of noise, and turned into our errors."""

from __future__ import annotations

import re
from typing import Any

from trtkit.errors import BuildError, PlanError
from trtkit.worker.protocol import Reporter

__all__ = ["LogBook", "build_error", "install_logger", "refusal"]

# On a machine without a driver every API error is followed by one of these, which says nothing about the error.
_NOISE = re.compile(r"cudaError 35|CUDA initialization failure|CUDA driver version is insufficient|Failed to open cuda")
_MEMORY = re.compile(
    r"out of memory|OutOfMemory|insufficient memory|bad_alloc|allocation failed|could not be allocated", re.IGNORECASE
)
_KEPT_VERBOSE = "Layers:"
_INSTALLED: list[Any] = []  # for good: TensorRT's plugin registry keeps a bare pointer to a logger it was handed
# Words of the builder's errors, and what helps; the first that matches wins.
_BUILD_FAILURES = (
    (
        _MEMORY.pattern,
        "Memory ran out, or the limit of --workspace, which TensorRT also reports as a missing implementation: lower "
        "--batch, raise the limit where you set one, or free memory.",
    ),
    (
        "Could not find any implementation|workspace limit",
        "Raise --workspace (too little of it reads like a missing kernel), or lower the maximum of --batch.",
    ),
    (
        "HW-specific datatypes",
        "Choose targets that have this data type with --compute-capability (FP8 needs 8.9 or newer).",
    ),
    (r"Turing \(SM75\)", "Leave 7.5 out of --compute-capability: it lacks FP32 matrix products; or convert to fp16."),
    ("", "Read the builder's messages above; --optimization-level and --batch change what it tries."),
)
# Words of deserialize_cuda_engine's refusals, and what helps; the first that matches wins.
_REFUSALS = (
    (
        "getEngineHostCodeAllowed",
        "The plan is version compatible: it brings a runtime as native code, which may run only if you trust the plan: "
        "add --allow-host-code.",
    ),
    (_MEMORY.pattern, "Free device memory: other processes may hold it."),
    (
        "Version tag does not match|not compatible with this version|has been created with|serialization version",
        "A plan loads in the version that built it: build it again here, or install that version "
        "(trtkit inspect PLAN names it).",
    ),
    (
        "incompatible device|compute capability|multiprocessors|different models of devices|hardware-compatible",
        "Build the plan again on the kind of GPU that will run it.",
    ),
    ("Platform specific tag", "Build the plan again on the operating system that will run it."),
    ("magicTag", "Check with trtkit inspect PLAN that this is a whole plan of this family."),
    ("", "Build the plan again with the version and on the kind of GPU that will run it."),
)


class LogBook:
    """Collects one vendor logger's messages: errors and warnings whole, of the verbose ones only the layer listing."""

    def __init__(self, report: Reporter | None = None) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.layer_messages: list[str] = []
        self._noise: list[str] = []
        self._report = report

    def logger(self, trt: Any) -> Any:
        """An ``ILogger`` of the given vendor module that writes here; its ``log`` must not throw."""
        book = self
        names = {
            trt.ILogger.Severity.INTERNAL_ERROR: "error",
            trt.ILogger.Severity.ERROR: "error",
            trt.ILogger.Severity.WARNING: "warning",
            trt.ILogger.Severity.INFO: "info",
        }

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                book.write(names.get(severity, "verbose"), message)

        return Logger()

    def write(self, severity: str, message: str) -> None:
        """Take one message."""
        if severity == "verbose":
            if message.lstrip().startswith(_KEPT_VERBOSE):
                self.layer_messages.append(message)
            return
        if _NOISE.search(message):
            self._noise.append(message)
            return
        if severity == "error":
            self.errors.append(message)
        elif severity == "warning":
            if message in self.warnings:
                return
            self.warnings.append(message)
        if self._report is not None:
            self._report.log(severity, message)

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether any error speaks of memory."""
        return any(_MEMORY.search(message) for message in self.errors)

    def since(self, mark: int) -> LogBook:
        """A book of the errors from number ``mark`` on, for telling what one call among many said."""
        part = LogBook()
        part.errors, part._noise = self.errors[mark:], list(self._noise)
        return part

    @property
    def everything(self) -> str:
        """All errors, whole, one after the other; empty when there was none."""
        return "\n".join(self.errors)

    def last_errors(self, count: int = 6) -> str:
        """The last errors on one line each, shortened; where nothing else was said, the noise (a driver too old)."""
        return "; ".join(" ".join(message.split())[:400] for message in (self.errors or self._noise)[-count:])


def install_logger(book: LogBook, trt: Any) -> Any:
    """Make Polygraphy use a logger of ``book``, keep its own prints out of the worker's log, and return the logger."""
    from polygraphy.backend.trt import util
    from polygraphy.logger import G_LOGGER

    logger = book.logger(trt)
    _INSTALLED.append(logger)
    util.TRT_LOGGER = logger
    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    return logger


def build_error(book: LogBook, text: str, vendor: str, onnx_name: str) -> BuildError:
    """The vendor's builder said no: a :class:`BuildError`; memory is told apart from everything else."""
    said = book.last_errors() or " ".join(text.split())[:600]
    hint = next(way for sign, way in _BUILD_FAILURES if re.search(sign, book.everything or said, re.IGNORECASE))
    return BuildError(
        f"{vendor} could not build a plan from {onnx_name}: {said}", hint=hint, log=tuple(book.errors[-10:])
    )


def refusal(book: LogBook, vendor: str, plan_name: str) -> PlanError:
    """The vendor's runtime would not load a plan; its reasons are in the log alone (the call just returns nothing)."""
    said = book.last_errors()
    hint = next(way for sign, way in _REFUSALS if re.search(sign, book.everything, re.IGNORECASE))
    return PlanError(
        f"{vendor} refuses {plan_name}: {said or 'it gives no reason'}", hint=hint, log=tuple(book.errors[-10:])
    )
