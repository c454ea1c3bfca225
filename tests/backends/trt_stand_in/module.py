"""Makes the module: enums and classes as recorded, with what ``state``, ``building`` and ``running`` play put in."""

from __future__ import annotations

import enum
from typing import Any

from tests.backends.trt_api import Api, api
from tests.backends.trt_stand_in import building, running, state

__all__ = ["fill"]

PLAYED = {
    name: value
    for module in (state, building, running)
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}
"""Class name → the class that lends its methods."""


class _Enum(enum.Enum):
    """As pybind11 makes them: ``int(member)`` works, comparing with an int does not."""

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__


class _Unplayed:
    """A recorded attribute that the stand-in does not play."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.text = f"the stand-in does not play {owner.__name__}.{name}"

    def __get__(self, instance: object, owner: type) -> Any:
        raise NotImplementedError(self.text)

    def __set__(self, instance: object, value: object) -> None:
        raise NotImplementedError(self.text)


def _make_class(known: Api, name: str, bases: tuple[type, ...]) -> type:
    allowed = {attribute for attribute in known.classes[name]["attributes"] if not attribute.startswith("_")}
    played = {key: value for key, value in vars(PLAYED.get(name, object)).items() if not _plain_object(key)}
    inherited = {key for base in bases for key in dir(base)}
    body: dict[str, Any] = {key: value for key, value in played.items() if key.startswith("_") or key in allowed}
    for attribute in sorted(allowed - played.keys() - inherited):
        body[attribute] = _Unplayed()
    made: type

    def set_attribute(self: object, key: str, value: object) -> None:
        if type(self) is made and not key.startswith("_") and key not in allowed:
            raise AttributeError(f"{name!r} object has no attribute {key!r}")
        object.__setattr__(self, key, value)

    body["__setattr__"] = set_attribute
    made = type(name, bases, body)
    return made


def _plain_object(key: str) -> bool:
    return key in {"__module__", "__dict__", "__weakref__", "__doc__", "__qualname__", "__firstlineno__"}


def fill(namespace: dict[str, Any], recorded: str) -> None:
    """Put the recorded module's names into ``namespace``, the globals of a module called ``tensorrt``."""
    known = api(recorded)
    state.STATE.version, state.STATE.module = known.version, namespace
    namespace["__version__"] = known.version
    for name, members in known.enums.items():
        namespace[name] = _Enum(name, {member: number for number, member in enumerate(members)})
    severity = _Enum("Severity", {name: n for n, name in enumerate(state.SEVERITIES)})
    todo = dict(known.classes)
    while todo:
        for name, record in list(todo.items()):
            wanted = [base for base in record["bases"] if base in known.classes]
            if any(base in todo for base in wanted):
                continue
            bases = tuple(namespace[base] for base in wanted)
            namespace[name] = _make_class(known, name, bases or PLAYED.get(name, state.Thing).__bases__)
            del todo[name]
    for name in ("ILogger", "Logger"):
        namespace[name].Severity = severity
        for member in severity:
            setattr(namespace[name], member.name, member)
    data_type = namespace["DataType"]
    for name in known.names:
        if name in state.DTYPE_NAMES:
            namespace[name] = data_type[state.DTYPE_NAMES[name]]
        elif hasattr(state, f"module_{name}"):
            namespace[name] = getattr(state, f"module_{name}")
