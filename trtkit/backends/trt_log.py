"""What TensorRT and Polygraphy write into their logs: kept, cleaned of noise, and turned into our errors."""

from __future__ import annotations

import re
from typing import Any

from trtkit.errors import BuildError, ModelError, TrtkitError
from trtkit.worker.protocol import Reporter

__all__ = ["LogBook", "build_error", "parse_error"]

# On a machine without a driver every API error is followed by one of these, which says nothing about the error.
_NOISE = re.compile(r"cudaError 35|CUDA initialization failure|CUDA driver version is insufficient|Failed to open cuda")
_MEMORY = re.compile(r"out of memory|OutOfMemory|insufficient memory|bad_alloc|allocation failed", re.IGNORECASE)
_NODE = re.compile(r"node (?:\d+ )?with name: (?P<name>.*?) and operator: (?P<op>\w+)|name: (?P<name2>\S+)")
_KEPT_VERBOSE = "Layers:"


class LogBook:
    """Collects one vendor logger's messages: errors and warnings whole, of the verbose ones only the layer listing."""

    def __init__(self, report: Reporter | None = None) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.layer_messages: list[str] = []
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
            return
        if severity == "error":
            self.errors.append(message)
        elif severity == "warning" and message not in self.warnings:
            self.warnings.append(message)
        if self._report is not None:
            self._report.log(severity, message)

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether any error speaks of memory."""
        return any(_MEMORY.search(message) for message in self.errors)

    def last_errors(self, count: int = 6) -> str:
        """The last errors on one line each, shortened."""
        return "; ".join(" ".join(message.split())[:400] for message in self.errors[-count:])


def parse_error(book: LogBook, text: str, vendor: str, onnx_name: str) -> TrtkitError:
    """The vendor's ONNX parser said no: a :class:`ModelError` that names the node where the log does.

    Args:
        book: the log of the attempt.
        text: the exception's text.
        vendor: the library's name and version, for people.
        onnx_name: file name of the model.
    """
    said = book.last_errors() or " ".join(text.split())[:600]
    match = _NODE.search(said)
    node = f" at node {match['name'] or match['name2']!r}" if match else ""
    return ModelError(
        f"{vendor} cannot parse {onnx_name}{node}: {said}",
        hint="Replace or remove what the message names, or use --family onnxruntime for this model.",
        log=tuple(book.errors[-10:]),
    )


def build_error(book: LogBook, text: str, vendor: str, onnx_name: str) -> BuildError:
    """The vendor's builder said no: a :class:`BuildError`; memory is told apart from everything else."""
    said = book.last_errors() or " ".join(text.split())[:600]
    if book.ran_out_of_memory:
        hint = "Memory ran out, which TensorRT also reports as a missing implementation: lower --batch, or free memory."
    elif "Could not find any implementation" in said:
        hint = "Raise --workspace (too little of it reads like a missing kernel), or lower the maximum of --batch."
    elif "HW-specific datatypes" in said:
        hint = "Choose targets that have this data type with --compute-capability (FP8 needs 8.9 or newer)."
    else:
        hint = "Read the builder's messages below; --optimization-level and --batch change what it tries."
    return BuildError(
        f"{vendor} could not build a plan from {onnx_name}: {said}", hint=hint, log=tuple(book.errors[-10:])
    )
