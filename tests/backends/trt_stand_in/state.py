"""What the scripted module knows: its state, its functions, and the classes that trtkit and Polygraphy derive from.

Every class of this package lends its methods to the recorded class of the same name.

``STATE.script`` is the scenario's, a word a part:

* ``create``: ``nullptr`` (no Builder can be made)
* ``parse``: ``unsupported`` (an operator without importer), ``silent`` (False without a word)
* ``build``: ``out_of_memory``, ``no_implementation``, ``hw_datatypes``, ``none``
* ``layers``: ``none`` (no verbose ``Layers:`` message)
* ``deserialize``: the words of a refusal
* ``inspector``: ``10`` or ``11`` (form of the JSON), ``empty``
* ``timing_cache``: ``mismatch``
* ``context``: ``none``; ``execute``: ``out_of_memory``
* ``profiles``: more optimization profiles beside the plan's, each input → [min, opt, max]
* ``aux_streams``: how many the engine has; ``refuse``: ``address``, ``profile`` or ``report``
* ``capturable``: what TensorRT-RTX's context says of a stream; ``loop``: an output whose shape depends on values

``STATE.kernel(stream, reads, writes, effect)`` takes an execution, where a pretended GPU runs it; ``None`` runs it now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SEVERITIES = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
DTYPE_NAMES = {
    "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int8": "INT8", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "bool": "BOOL", "fp8": "FP8", "int4": "INT4", "fp4": "FP4", "e8m0": "E8M0",
}  # fmt: skip
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "INT8": "int8", "BOOL": "bool"}


@dataclass
class State:
    """The process's one module."""

    version: str = ""
    module: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    kernel: Any = None

    def begin(self, script: dict[str, Any]) -> None:
        self.script, self.record = script, {}

    def says(self, part: str) -> Any:
        return self.script.get(part)


STATE = State()


class Thing:
    """Base of every played class; a base that is not ``object`` keeps ``type()`` from refusing the layout."""


def log(logger: Any, severity: str, text: str) -> None:
    logger.log(STATE.module["ILogger"].Severity[severity], text)


def enum_only(value: Any, enum: str) -> None:
    if not isinstance(value, STATE.module[enum]):
        raise TypeError(f"incompatible function arguments: a {enum} is needed, not {value!r}")


def module_nptype(dtype: Any) -> Any:
    if dtype.name not in _NUMPY:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return np.dtype(_NUMPY[dtype.name]).type


def module_init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    STATE.record["plugins"] = namespace
    return True


class ILogger(Thing):
    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError("pure virtual")


class IProgressMonitor(Thing):
    def phase_start(self, *arguments: Any) -> None:
        raise NotImplementedError("pure virtual")

    step_complete = phase_finish = phase_start


class IOutputAllocator(Thing):
    pass


class IDebugListener(Thing):
    pass


class IHostMemory(bytes):
    """Has the buffer protocol, ``nbytes`` and ``dtype``; no length and no items, as the real one."""

    @property
    def nbytes(self) -> int:
        return memoryview(self).nbytes

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise TypeError("object of type 'IHostMemory' has no len()")

    def __getitem__(self, key: Any) -> Any:
        raise TypeError("'IHostMemory' object is not subscriptable")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        return None
