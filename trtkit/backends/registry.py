"""The families by name, and how ``auto`` chooses. Importing this imports no vendor."""

from __future__ import annotations

import importlib

from trtkit.backends.base import Backend
from trtkit.errors import UsageError

__all__ = ["FAMILIES", "ON_CPU", "PREFERENCE", "check_family", "get", "worker_env"]

FAMILIES: dict[str, str] = {
    "tensorrt": "trtkit.backends.trt:TrtBackend",
    "tensorrt-rtx": "trtkit.backends.trt_rtx:TrtRtxBackend",
    "onnxruntime": "trtkit.backends.ort:OrtBackend",
    "null": "trtkit.backends.null:NullBackend",  # for tests, which name it in Python: the command line refuses it
}
PREFERENCE = ("tensorrt", "tensorrt-rtx", "onnxruntime")
"""The order in which ``auto`` tries them; the first that can build here wins."""

ON_CPU = ("onnxruntime", "null")
"""Those that execute on a CPU too. Nobody needs to look at an engine builder, which takes a second, for a CPU alone."""


def check_family(name: str) -> None:
    """Hold what a user asks for against what there is for users.

    Raises:
        UsageError: it is neither ``auto`` nor one of :data:`PREFERENCE`.
    """
    if name not in ("auto", *PREFERENCE):
        raise UsageError(f"There is no family {name!r}.", hint=f"Choose one of: {', '.join(PREFERENCE)}, or auto.")


def get(family: str) -> Backend:
    """The backend of a family. Call it in a worker that was started with :func:`worker_env` of the same family.

    Raises:
        UsageError: unknown family.
    """
    if family not in FAMILIES:
        raise UsageError(f"There is no family {family!r}.", hint=f"Choose one of: {', '.join(PREFERENCE)}, or auto.")
    module, _, name = FAMILIES[family].partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)()
    return backend


def worker_env(family: str) -> dict[str, str]:
    """Environment of a worker for this family: Polygraphy reads its switch once, when it is first imported."""
    return {"POLYGRAPHY_USE_TENSORRT_RTX": "1" if family == "tensorrt-rtx" else "0"}
