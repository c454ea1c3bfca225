"""The user's say in what is quantized: nodes and operators to leave out or to insist on."""

from __future__ import annotations

import difflib
import fnmatch
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trtkit.errors import UsageError

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Overrides of the rules.

    Attributes:
        exclude: nodes that stay float: names, patterns of names (``inception_5*``), operator types (``Gemm``).
        include: the same kinds of entries; what matches is quantized although ``exclude``, ``smallest_channels`` or a
            rule about what an engine lacks would leave it out. No other operator can be quantized this way.
        smallest_channels: convolutions with fewer input or output channels a group stay float; 0 quantizes all.
        residual: quantize the residual input of an Add that a convolution feeds.
        share_concat: give a Concat and those of its inputs that are quantized for other readers one scale.
    """

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    smallest_channels: int = 0
    residual: bool = True
    share_concat: bool = False

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe: a JSON object with some of the attributes as keys.

        Raises:
            UsageError: no such file, not JSON, an unknown key, or a value of the wrong kind.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(
                f"The recipe {path} cannot be read: {error.strerror or error}.", hint="Check the path."
            ) from error
        except ValueError as error:
            raise UsageError(
                f"The recipe {path} is not JSON: {error}.", hint='Write for example {"exclude": ["Gemm"]}.'
            ) from error
        return cls.from_json(value, str(path))

    @classmethod
    def from_json(cls, value: Any, where: str = "the recipe") -> Recipe:
        """Make a recipe from JSON values; the inverse of :meth:`to_json`.

        Raises:
            UsageError: not an object, an unknown key, or a value of the wrong kind.
        """
        defaults = asdict(cls())
        hint = f"The keys are {', '.join(defaults)}."
        if not isinstance(value, dict):
            raise UsageError(f"{where} holds {type(value).__name__}, not a JSON object.", hint=hint)
        made: dict[str, Any] = {}
        for key, item in value.items():
            if key not in defaults:
                raise UsageError(f"{where} has an unknown key {key!r}.", hint=hint)
            default = defaults[key]
            if isinstance(default, tuple):
                if not isinstance(item, list) or not all(isinstance(text, str) for text in item):
                    raise UsageError(f"{where}: {key} is a list of texts, not {item!r}.", hint=hint)
                made[key] = tuple(item)
            elif type(item) is not type(default) or (isinstance(item, int) and item < 0):
                kind = "true or false" if isinstance(default, bool) else "a whole number, 0 or more"
                raise UsageError(f"{where}: {key} is {kind}, not {item!r}.", hint=hint)
            else:
                made[key] = item
        return cls(**made)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def excluding(self, entries: Iterable[str]) -> Recipe:
        """The same recipe with further entries to exclude."""
        return replace(self, exclude=(*self.exclude, *entries))

    def check(self, nodes: Sequence[tuple[str, str]]) -> None:
        """Refuse an entry that matches nothing: a typing error would quantize what was to stay float.

        Args:
            nodes: name and operator type of each node.

        Raises:
            UsageError: naming the entry, and what comes close to it.
        """
        for entry in (*self.exclude, *self.include):
            if not any(_matches(entry, name, op) for name, op in nodes):
                known = [*dict.fromkeys(op for _, op in nodes), *(name for name, _ in nodes)]
                close = difflib.get_close_matches(entry, known, n=3, cutoff=0.5)
                raise UsageError(
                    f"{entry!r} matches no node of the model, neither by name nor by operator.",
                    hint=f"Close to it: {', '.join(close)}."
                    if close
                    else "trtkit calibrate --explain lists all nodes.",
                )

    def excluded(self, name: str, op_type: str) -> str | None:
        """The entry that leaves a node out; None if there is none or an ``include`` entry overrides it."""
        found = next((entry for entry in self.exclude if _matches(entry, name, op_type)), None)
        return None if self.included(name, op_type) else found

    def included(self, name: str, op_type: str) -> bool:
        """Whether an ``include`` entry insists on the node."""
        return any(_matches(entry, name, op_type) for entry in self.include)


def _matches(entry: str, name: str, op_type: str) -> bool:
    return entry in (name, op_type) or fnmatch.fnmatchcase(name, entry)
