"""Windows of convolutions and pools: kernel, strides, padding and dilations, whatever attributes say them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from trtkit.graph.rewrites.base import Edit
from trtkit.graph.rewrites.view import attributes_of

__all__ = ["Window", "put_pad", "set_attribute", "set_window", "window_of"]


@dataclass(frozen=True)
class Window:
    """A window over the axes behind the channels, one number an axis.

    Attributes:
        kernel, strides, dilations: as in ONNX.
        begin, end: padding before and behind.
        ceil: whether a last window that is only partly inside counts (pools).
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil: bool = False

    @property
    def pads(self) -> list[int]:
        """ONNX's ``pads``: all begins, then all ends."""
        return [*self.begin, *self.end]

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.pads)

    def output(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Sizes of a convolution's output for an input of ``sizes``."""
        rows = zip(sizes, self.kernel, self.strides, self.begin, self.end, self.dilations, strict=True)
        return tuple((n + b + e - d * (k - 1) - 1) // s + 1 for n, k, s, b, e, d in rows)


def window_of(node: onnx.NodeProto, sizes: Sequence[int] | None, kernel: Sequence[int] = ()) -> Window | None:
    """The window of a Conv, MaxPool, AveragePool or LpPool with its padding worked out.

    Args:
        node: the node.
        sizes: of its input behind the channels. ``auto_pad`` needs them, and ``None`` is returned without, and where
            its meaning is in dispute.
        kernel: where the attribute ``kernel_shape`` may be missing, the weights' sizes.
    """
    given = attributes_of(node)
    shape = tuple(given.get("kernel_shape", kernel))
    ones = (1,) * len(shape)
    strides, dilations = tuple(given.get("strides", ones)), tuple(given.get("dilations", ones))
    auto = given.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if sizes is None:
            return None
        rows = zip(sizes, shape, strides, dilations, strict=True)
        total = [(math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n for n, k, s, d in rows]
        if min(total, default=0) < 0:  # a stride beyond the window: some runtimes crop then, and some do not
            return None
        small, large = tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
        begin, end = (small, large) if auto == "SAME_UPPER" else (large, small)
    elif auto == "VALID":
        begin = end = (0,) * len(shape)
    else:
        pads = tuple(given.get("pads", (0,) * (2 * len(shape))))
        begin, end = pads[: len(shape)], pads[len(shape) :]
    return Window(shape, strides, begin, end, dilations, bool(given.get("ceil_mode", 0)))


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    """Give a node's attribute a value; ``None`` removes it."""
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name == name:
            del node.attribute[index]
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def set_window(node: onnx.NodeProto, window: Window) -> None:
    """Write a window into a node's attributes, its padding as numbers."""
    set_attribute(node, "auto_pad", None)
    set_attribute(node, "kernel_shape", list(window.kernel))
    set_attribute(node, "strides", list(window.strides))
    set_attribute(node, "pads", window.pads)
    if any(step != 1 for step in window.dilations):
        set_attribute(node, "dilations", list(window.dilations))


def put_pad(edit: Edit, name: str, pads: Sequence[int]) -> str:
    """Add a Pad with zeros to an edit, if there is anything to pad, and return the padded tensor's name.

    Args:
        edit: gets the node.
        name: what is padded.
        pads: all begins, then all ends, one for every axis; negative ones crop.
    """
    if not any(pads):
        return name
    if edit.graph.opset < 11:
        return edit.add("Pad", [name], "pad", pads=list(pads))
    stored = edit.tensor(f"{edit.anchor.name}/{edit.rewrite}/pads", np.array(pads, np.int64))
    return edit.add("Pad", [name, stored], "pad")
