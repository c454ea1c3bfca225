"""The error tree: every class has its exit code, every error names the thing and ends with a way out.

    TrtkitError                    (never raised itself)
    ├── UsageError               2  the command or call contradicts itself, or the system refuses it a file
    ├── BackendUnavailableError  3  no engine family here can do the job
    ├── ModelError               4  the ONNX file or the model definition is at fault
    ├── CalibrationError         5  the calibration data or table is at fault
    ├── BuildError               6  the engine builder failed, or its worker died
    ├── PlanError                7  a plan or its manifest cannot be used
    └── RunError                 8  a plan was loaded, but running it failed

Exit code 9 is no error: it is a result (a validation or a verdict that says no). Exit code 1 is a bug in trtkit, with
its traceback. Exit code 130 is Ctrl-C, and 141 says that nobody reads the output any more (``| head``).
"""

from __future__ import annotations

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_READER_LEFT",
    "EXIT_VERDICT_NO",
    "BackendUnavailableError",
    "BuildError",
    "CalibrationError",
    "ModelError",
    "PlanError",
    "RunError",
    "TrtkitError",
    "UsageError",
    "from_wire",
]

EXIT_VERDICT_NO = 9
EXIT_INTERRUPTED = 130
EXIT_READER_LEFT = 141


class TrtkitError(Exception):
    """Base of all errors that trtkit raises on purpose.

    Args:
        message: what is wrong, naming the file, node, option or tensor, and what would have been allowed.
        hint: the way out, one sentence in the imperative.
        log: the last lines that the vendor library or the worker wrote, oldest first; may be empty.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log
        self.add_note(f"hint: {hint}")  # a script that catches nothing shows it below the message

    def __reduce__(self) -> tuple[object, ...]:
        return (from_wire, (self.to_wire(),))

    def to_wire(self) -> dict[str, object]:
        """The error as JSON-ready values, for the way out of a worker process."""
        return {"type": type(self).__name__, "message": self.message, "hint": self.hint, "log": list(self.log)}


class UsageError(TrtkitError):
    """The command line or the call is wrong: unknown name, contradicting options, malformed value."""

    exit_code = 2


class BackendUnavailableError(TrtkitError):
    """The family that was asked for (or every family) cannot work on this machine."""

    exit_code = 3


class ModelError(TrtkitError):
    """The ONNX model is broken, incomplete or uses what TensorRT cannot take."""

    exit_code = 4


class CalibrationError(TrtkitError):
    """Calibration data or a calibration table cannot be used."""

    exit_code = 5


class BuildError(TrtkitError):
    """The engine builder refused, failed, or died with its worker process."""

    exit_code = 6


class PlanError(TrtkitError):
    """A plan file or its manifest is missing, damaged, or made for something else."""

    exit_code = 7


class RunError(TrtkitError):
    """Executing a plan or an ONNX model failed."""

    exit_code = 8


_BY_NAME: dict[str, type[TrtkitError]] = {
    cls.__name__: cls
    for cls in (UsageError, BackendUnavailableError, ModelError, CalibrationError, BuildError, PlanError, RunError)
}


def from_wire(wire: dict[str, object]) -> TrtkitError:
    """Rebuild an error from :meth:`TrtkitError.to_wire`.

    Raises:
        KeyError: the type is not one of the tree.
    """
    log = wire.get("log", [])
    lines = tuple(str(line) for line in log) if isinstance(log, list) else ()
    return _BY_NAME[str(wire["type"])](str(wire["message"]), hint=str(wire["hint"]), log=lines)
