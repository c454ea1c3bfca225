"""Taking all of a network's weights from a file: every tensor must be there, well shaped, finite, and no other."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_defs.initialization import Parameter
from model_defs.weight_files import FLOAT_TYPES, StoredTensor, WeightFile, open_weight_file
from model_defs.weight_matching import match_by_graph, weight_names
from trtkit.errors import ModelError

__all__ = ["load"]

_MOST_LINES = 14
"""Complaints listed in one error: with title, hint and wrapped lines, a screenful."""


def load(
    path: Path, *, model: str, parameters: Sequence[Parameter], nodes: Sequence[Any], ignored: Collection[str]
) -> Iterator[np.ndarray]:
    """Yield the parameters' values, float32, in their order, one at a time; all names and shapes are checked first.

    Keys match by name, also below a prefix that all of them share (``module.``, ``model.``). The initializers of an
    ONNX file whose names differ match by position in the graph, if that is unambiguous
    (:func:`model_defs.weight_matching.match_by_graph`). float16 and float64 values are converted to float32.

    Args:
        path: a .safetensors, .npz or .onnx file.
        model: the network's name, for messages.
        parameters, nodes: what the network needs, and its ONNX nodes.
        ignored: regular expressions of keys to pass over.

    Raises:
        UsageError: the file cannot be opened, or its extension is not known.
        ModelError: tensors are missing, extra, misshapen or of a type that is no float; or values are not finite.
    """
    with open_weight_file(path) as file:
        keys = _keys(path, model, parameters, nodes, ignored, file)
        for index, parameter in enumerate(parameters):
            values = _float32(file, keys[parameter.name])
            if not np.isfinite(values).all():
                later = [p.name for p in parameters[index + 1 :] if not np.isfinite(_float32(file, keys[p.name])).all()]
                raise ModelError(
                    _listing(f"{path}: weights hold NaN or infinity (as float32) in", [parameter.name, *later]),
                    hint="Export the weights again from a state without overflow.",
                )
            yield values


def _float32(file: WeightFile, key: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite, and is then reported
        return np.ascontiguousarray(file.read(key), dtype=np.float32)


def _keys(
    path: Path,
    model: str,
    parameters: Sequence[Parameter],
    nodes: Sequence[Any],
    ignored: Collection[str],
    file: WeightFile,
) -> dict[str, str]:
    """The file's key of each parameter."""
    # Of an ONNX graph's initializers only those that Conv, Gemm and BatchNorm read are weights, not shapes or scales.
    candidates = list(weight_names(file.nodes, file.tensors) if file.nodes else file.tensors)
    prefix = _common_prefix([parameter.name for parameter in parameters], candidates)
    found = {
        key[len(prefix) :]: key
        for key in candidates
        if not any(re.fullmatch(pattern, key[len(prefix) :]) for pattern in ignored)
    }
    complaints = _complaints(parameters, found, file.tensors)
    if not complaints:
        return found
    if file.nodes:
        matched = match_by_graph(parameters, nodes, file)
        if matched is not None:
            return matched
    kinds = Counter(line[:10].strip() for line in complaints)
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    note = "; its graph does not match by position either" if file.nodes else ""
    title = f"{path} does not hold the {len(parameters)} weight tensors of {model}: {summary}{note}."
    hint = f"Give weights of exactly this architecture; `trtkit export {model}` writes one with its names."
    if file.nodes and any(line.startswith("extra") and "/" in line for line in complaints):
        hint += " Of what convert writes, take the file of --rewrite none: rewrites change some weights' shapes."
    raise ModelError(_listing(title, _some_of_each(complaints)), hint=hint)


def _common_prefix(names: Sequence[str], keys: Sequence[str]) -> str:
    """The prefix, ending in a dot, that every key carries before the networks' own names; empty if there is none."""
    if not keys or set(names) & set(keys):
        return ""
    for key in keys:
        if key.endswith(f".{names[0]}"):
            prefix = key[: -len(names[0])]
            if all(other.startswith(prefix) for other in keys):
                return prefix
    return ""


def _complaints(
    parameters: Sequence[Parameter], found: dict[str, str], tensors: Mapping[str, StoredTensor]
) -> list[str]:
    lines = []
    for parameter in parameters:
        if parameter.name not in found:
            lines.append(f"missing    {parameter.name} {_shape_text(parameter.shape)}")
    expected = {parameter.name: parameter for parameter in parameters}
    for name, key in found.items():
        stored = tensors[key]
        if name not in expected:
            lines.append(f"extra      {name} {_shape_text(stored.shape)}")
        elif stored.shape != expected[name].shape:
            wanted = _shape_text(expected[name].shape)
            lines.append(f"misshapen  {name} is {_shape_text(stored.shape)}, must be {wanted}")
        elif stored.dtype not in FLOAT_TYPES:
            lines.append(f"not float  {name} is {stored.dtype}, must be one of {', '.join(FLOAT_TYPES)}")
    return lines


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _some_of_each(complaints: Sequence[str]) -> list[str]:
    """The same lines, the kinds taken in turn, so that a long list of one kind does not hide the others."""
    kinds: dict[str, list[str]] = {}
    for line in complaints:
        kinds.setdefault(line[:10], []).append(line)
    turns = itertools.zip_longest(*kinds.values())
    return [line for turn in turns for line in turn if line is not None]


def _listing(title: str, lines: Sequence[str]) -> str:
    shown = [f"  {line}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"  … and {len(lines) - _MOST_LINES} more")
    return "\n".join([title, *shown])
