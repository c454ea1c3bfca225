"""TensorRT's public names as recorded in ``tests/data/tensorrt_api``, and which of them a piece of source code uses."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "tensorrt_api"
TENSORRT_10, TENSORRT_11, RTX = "tensorrt-10.16.1.11", "tensorrt-11.4.0.106", "tensorrt_rtx-1.7.1.116"
EVERY_MODULE_HAS = {"__version__"}
EVERY_ENUM_HAS = {"__members__"}
EVERY_MEMBER_HAS = {"name", "value"}


@dataclass(frozen=True)
class Api:
    """One recorded module."""

    module: str
    version: str
    enums: dict[str, list[str]]
    classes: dict[str, dict[str, list[str]]]
    names: list[str]

    def has(self, path: tuple[str, ...]) -> bool:
        """Whether ``trt.A.B.C`` exists, for ``("A", "B", "C")``."""
        first, *rest = path
        if first in self.enums:
            return (
                not rest
                or rest[0] in EVERY_ENUM_HAS
                or (rest[0] in self.enums[first] and set(rest[1:]) <= EVERY_MEMBER_HAS)
            )
        if first in self.classes:
            # The one nested enum that is recorded as a plain attribute: its members are attributes of the class too.
            inside = [name for name in rest if name != "Severity"]
            return all(self.has_attribute(first, name) for name in inside)
        return not rest and (first in self.names or first in EVERY_MODULE_HAS)

    def has_attribute(self, cls: str, name: str) -> bool:
        return name in self.classes[cls]["attributes"]


@functools.cache
def api(name: str) -> Api:
    return Api(**json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def _path(node: ast.Attribute) -> tuple[ast.expr, tuple[str, ...]]:
    """Root expression and the attribute names after it."""
    names: list[str] = []
    place: ast.expr = node
    while isinstance(place, ast.Attribute):
        names.append(place.attr)
        place = place.value
    return place, tuple(reversed(names))


def _outermost(tree: ast.AST) -> Iterator[ast.Attribute]:
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            yield node


def problems(
    source: str,
    known: Api,
    *,
    vendor: Mapping[str, str],
    ours: Set[str],
    dynamic: Mapping[str, tuple[str, ...]],
) -> list[str]:
    """What ``source`` uses that ``known`` does not have.

    Args:
        source: Python code in which the vendor's module is called ``trt``.
        known: the recorded module.
        vendor: variable name → class of the vendor's object in it; ``enum`` for a member of an enum.
        ours: names of variables that hold no vendor object; ``self``, imports and CONSTANTS are known to hold none.
        dynamic: enum or class → the names that a computed ``getattr`` may ask it for.

    Returns:
        One line a problem: a missing name, or a variable that neither table has a row for.
    """
    tree = ast.parse(source)
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    found: list[str] = []

    def check(path: tuple[str, ...]) -> None:
        if not known.has(path):
            found.append(f"trt.{'.'.join(path)} is not in {known.module} {known.version}")

    def check_object(cls: str, attribute: str, variable: str) -> None:
        there = attribute in EVERY_MEMBER_HAS if cls == "enum" else known.has_attribute(cls, attribute)
        if not there:
            found.append(f"{variable}.{attribute}: {cls} has none in {known.module} {known.version}")

    for node in _outermost(tree):
        root, path = _path(node)
        if isinstance(root, ast.Name):
            if root.id == "trt":
                check(path)
            elif root.id in vendor:
                check_object(vendor[root.id], path[0], root.id)
            elif not (root.id in ours or root.id in imported or root.id == "self" or root.id.isupper()):
                found.append(f"no row says what {root.id} is, of which {path[0]!r} is asked")
        elif isinstance(root, ast.Call) and isinstance(root.func, ast.Attribute):
            made, names = _path(root.func)
            if isinstance(made, ast.Name) and made.id == "trt" and names[0] in known.classes:
                check_object(names[0], path[0], f"trt.{names[0]}()")
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == "trt":
                    methods = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
                    for method in methods:
                        check_object(base.attr, method, base.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"getattr", "hasattr"}:
            found += _of_getattr(node, known, vendor, dynamic)
    return found


def _of_getattr(
    node: ast.Call, known: Api, vendor: Mapping[str, str], dynamic: Mapping[str, tuple[str, ...]]
) -> list[str]:
    holder, wanted = node.args[:2]
    if isinstance(holder, ast.Name) and holder.id != "trt" and holder.id not in vendor:
        return []
    root, path = _path(holder) if isinstance(holder, ast.Attribute) else (holder, ())
    if not isinstance(root, ast.Name) or (root.id != "trt" and root.id not in vendor):
        return []
    prefix = path if root.id == "trt" else (vendor[root.id], *path)
    if isinstance(wanted, ast.Constant):
        names: tuple[Any, ...] = (wanted.value,)
    elif prefix and prefix[-1] in dynamic:
        names = dynamic[prefix[-1]]
    else:
        return [f"no row says what a computed getattr may ask {'.'.join((root.id, *path))} for"]
    return [
        f"trt.{'.'.join((*prefix, name))} is not in {known.module} {known.version}"
        for name in names
        if not known.has((*prefix, name))
    ]
