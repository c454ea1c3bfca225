"""Types of arguments in the Python API: a wrong one is an error that names it, not a TypeError from deep inside."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trtkit.errors import UsageError

__all__ = ["as_path", "check_argument", "check_fields"]

_SHOWN = 60


def check_fields(instance: Any) -> None:
    """Hold every field of a dataclass against its annotation; call it in ``__post_init__``.

    A field that wants a ``Path`` takes text and every ``os.PathLike`` too, and then holds the ``Path``; one that wants
    text takes a path.

    Raises:
        UsageError: naming the class, the field, what was given and what is allowed.
    """
    cls = type(instance)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(instance):
        given = getattr(instance, field.name)
        if (meant := as_path(given, hints[field.name])) is not given:
            object.__setattr__(instance, field.name, meant)  # the dataclass is frozen for everyone else
        check_argument(cls.__name__, field.name, getattr(instance, field.name), hints[field.name])


def as_path(value: Any, allowed: Any = Path) -> Any:
    """``value``, or the ``Path`` (or the text of one) that it stands for where ``allowed`` wants that.

    Args:
        value: what was given.
        allowed: the type; entries of a mapping are taken one by one.
    """
    options = _options(allowed)
    if isinstance(value, Mapping) and not isinstance(allowed, type):
        inner = next((typing.get_args(one) for one in options if typing.get_origin(one) in (dict, Mapping)), ())
        if inner and Path in _options(inner[1]):
            return {key: as_path(entry, inner[1]) for key, entry in value.items()}
    if not isinstance(value, str | os.PathLike) or any(isinstance(value, one) for one in (str, Path) if one in options):
        return value
    text = os.fspath(value)
    if not isinstance(text, str):
        return value
    return Path(text) if Path in options else text if str in options else value


def check_argument(owner: str, name: str, value: object, allowed: Any) -> None:
    """Hold one argument against a type: a class, ``X | None``, ``tuple[X, ...]`` or ``dict[str, X]``.

    An ``int`` is taken where a ``float`` is wanted, and a ``bool`` only where a ``bool`` is.

    Args:
        owner: the class or function, for the message.
        name: of the argument.
        value: what was given.
        allowed: the type.

    Raises:
        UsageError: the value is of another type.
    """
    if _fits(value, allowed):
        return
    shown = repr(value)
    shown = f"{shown[:_SHOWN]}…" if len(shown) > _SHOWN else shown
    raise UsageError(
        f"{owner}: {name} is {_named(allowed)}, not {type(value).__name__} {shown}.",
        hint=_way_out(name, value, allowed),
    )


def _fits(value: object, allowed: Any) -> bool:
    origin, inner = typing.get_origin(allowed), typing.get_args(allowed)
    if allowed is Any or allowed is object:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(entry, inner[0]) for entry in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(entry, inner[1]) for key, entry in value.items()
        )
    if origin is typing.Literal:
        return value in inner
    if origin is Callable:
        return callable(value)
    if isinstance(value, bool):
        return allowed is bool
    if allowed is float:
        return isinstance(value, int | float)
    return isinstance(value, origin or allowed)


def _named(allowed: Any) -> str:
    origin, inner = typing.get_origin(allowed), typing.get_args(allowed)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_named(one) for one in inner)
    if origin is tuple:
        return f"a tuple of {_named(inner[0])}"
    if origin in (dict, Mapping):
        return f"a dict of {_named(inner[0])} to {_named(inner[1])}"
    if allowed is types.NoneType:
        return "None"
    return str(getattr(allowed, "__name__", allowed))


def _way_out(name: str, value: object, allowed: Any) -> str:
    """How this very value would be written rightly, where that can be said."""
    options = _options(allowed)
    if isinstance(value, str | list) and any(typing.get_origin(one) is tuple for one in options):
        entries = [value] if isinstance(value, str) else value
        return f"Write {name}={tuple(entries)!r}, a tuple."
    makers = [one for one in options if isinstance(one, type) and dataclasses.is_dataclass(one)]
    if makers:
        return f"Write {name}={_call(makers[0], repr(value) if isinstance(value, str) else '…')}."
    return f"Give {name} a value of that type."


def _options(allowed: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return typing.get_args(allowed) if typing.get_origin(allowed) in (typing.Union, types.UnionType) else (allowed,)


def _call(maker: type, argument: str) -> str:
    """The call that makes one, its first field's own class included: ``ConvertRequest(SourceRequest('x'))``."""
    first = next(iter(typing.get_type_hints(maker).values()))
    nested = isinstance(first, type) and dataclasses.is_dataclass(first)
    return f"trtkit.{maker.__name__}({_call(first, argument) if nested else argument})"
