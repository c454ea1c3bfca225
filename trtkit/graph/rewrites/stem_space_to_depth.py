"""A strided convolution on few channels as a stride-1 convolution on many: SpaceToDepth, convolution, at times a Pad.

Along one axis, with window k, stride s, padding p before, input x of length H and output length O,

    y[o] = Σ_j w[j] · x̂[s·o + j],   0 ≤ j < k,   x̂[i] = x[i − p], and 0 outside of x.

Let K = ⌈k/s⌉ and w[j] = 0 for k ≤ j < s·K. Write j = s·a + b with 0 ≤ b < s:

    y[o] = Σ_a Σ_b w[s·a + b] · x̂[s·(o + a) + b]   with   0 ≤ a < K.

With z_b[i] = x̂[s·i + b], that is a convolution of z_b (b as further channels) with window K, stride 1 and no padding.
It reads i < O + K − 1, so x̂ has to have the length L = s·(O + K − 1): p zeros before x, and L − p − H behind it (fewer
than none where the source left a remainder unread: then x is cropped). SpaceToDepth with block s puts row b, column b'
and channel c at channel (b·s + b')·C + c; the weights follow. The sums have the same terms, and zeros.

The Pad is a copy of the image, which the stride-1 convolution's own padding saves where whole blocks are missing. Put
f = (−p) mod s zero taps in front of the kernel: w'[j] = w[j − f], and since p + f = s·q, x̂[i − f] = x[i − s·q]:

    y[o] = Σ_j w'[j] · x̂[s·o + j − f] = Σ_a Σ_b w'[s·a + b] · x[s·(o + a − q) + b].

With z_b[i] = x[s·i + b], the image as it is, the convolution pads q blocks before. It needs s to divide H, and is taken
where the zero taps make no larger window: ⌈(k + f)/s⌉ = K. It reads i < O + K − 1 − q, so it pads O + K − 1 − q − H/s
blocks behind. They are never fewer than none: the source reads all of x and its padding behind but less than s rows, so
s·(O − 1) + k > H + p − s, and with s·K ≥ k + f, s·(O + K − 1 − q) > H − s, both multiples of s. An axis that does not
qualify takes the Pad.

Tensor cores multiply 8 or 16 channels at a time: with 3 of them most of the work is padding, with 3·s² it is not. The
``_16`` variant pads the image's channels with zeros, so that C·s² becomes a multiple of 16; that is always a Pad, the
same one if an axis takes it.

Conditions: a 2-D convolution of at most 4 channels in one group, stride s ≥ 2 along both axes, no dilation, fixed
height, width and channels, stored weights, float32 or float16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx

from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.graph.rewrites.view import GraphView
from trtkit.graph.rewrites.windows import Window, put_pad, set_window, window_of

__all__ = ["StemSpaceToDepth", "StemSpaceToDepth16", "rearranged"]

_MOST_CHANNELS = 4
_ALIGNED = 16


@dataclass(frozen=True)
class _Stem:
    """A convolution that qualifies: its window, block, image size, and weights M×C×k×k."""

    node: onnx.NodeProto
    window: Window
    block: int
    size: tuple[int, int]
    weights: npt.NDArray[np.floating]


@dataclass(frozen=True)
class _Axis:
    """How one axis is padded: zero taps before the kernel, the image's begin and end, the convolution's in blocks."""

    front: int
    image: tuple[int, int]
    blocks: tuple[int, int]


def rearranged(
    weights: npt.NDArray[np.floating], block: int, channels: int | None = None, front: tuple[int, int] = (0, 0)
) -> npt.NDArray[np.floating]:
    """Weights M×C×k×k' for stride ``block`` → M×(block²·C)×⌈k/block⌉×⌈k'/block⌉ for stride 1 behind a SpaceToDepth.

    Args:
        weights: of the source.
        block: its stride.
        channels: C after zero channels were added to the image; ``None`` adds none.
        front: zero taps in front of the kernel along both axes; they count in k and k'.
    """
    outputs, inputs, *window = weights.shape
    wide = channels or inputs
    ends = [taps + size for taps, size in zip(front, window, strict=True)]
    rows, columns = (-(-end // block) for end in ends)
    whole = np.zeros((outputs, wide, rows * block, columns * block), weights.dtype)
    whole[:, :inputs, front[0] : ends[0], front[1] : ends[1]] = weights
    split = whole.reshape(outputs, wide, rows, block, columns, block)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(outputs, block * block * wide, rows, columns)


class StemSpaceToDepth(Rewrite):
    """See the module.

    Attributes:
        conv_pads: whether the convolution's own padding is used where it can be; a script that measures the Pad against
            it sets this to False, for both variants on this class.
    """

    conv_pads: ClassVar[bool] = True

    name = "stem_space_to_depth"
    summary = "a strided convolution on up to 4 channels as SpaceToDepth and a stride-1 convolution, padded as needed"
    gains = "GPU: on top of the band AlexNet 1.9×, GoogLeNet 1.3×; ONNX Runtime on a CPU: nothing, or a little slower"

    def edits(self, graph: GraphView) -> Iterator[Edit]:
        """See :meth:`Rewrite.edits`."""
        for node in graph.of_type("Conv"):
            stem = _stem(graph, node)
            channels = self._channels(stem) if stem is not None else None
            if stem is not None and channels is not None:
                yield self._edit(graph, stem, channels)

    def _channels(self, stem: _Stem) -> int | None:
        """Channels of the image afterwards; ``None`` leaves the convolution alone."""
        return int(stem.weights.shape[1])

    def _edit(self, graph: GraphView, stem: _Stem, channels: int) -> Edit:
        node, block, inputs = stem.node, stem.block, int(stem.weights.shape[1])
        axes = [_axis(stem, axis, self.conv_pads) for axis in range(2)]
        weights = rearranged(stem.weights, block, channels, (axes[0].front, axes[1].front))
        detail = f"{inputs} channels, window {'×'.join(map(str, stem.window.kernel))}, stride {block}"
        if channels != inputs:
            detail += f", padded to {channels} channels"
        edit = Edit(graph, self.name, node, [node], detail)
        begin, end = zip(*(axis.image for axis in axes), strict=True)
        padded = put_pad(edit, node.input[0], [0, 0, *begin, 0, channels - inputs, *end])
        deep = edit.add("SpaceToDepth", [padded], "space_to_depth", blocksize=block)
        stored = edit.tensor(f"{node.input[1]}/{self.name}", weights)
        conv = edit.carry_on(node, [deep, stored, *node.input[2:]])
        before, behind = zip(*(axis.blocks for axis in axes), strict=True)
        set_window(conv, Window(tuple(weights.shape[2:]), (1, 1), before, behind, (1, 1)))
        return edit


class StemSpaceToDepth16(StemSpaceToDepth):
    """The variant that pads the image's channels with zeros; see the module."""

    name = "stem_space_to_depth_16"
    summary = "as stem_space_to_depth, with the image's channels padded so that there are a multiple of 16 behind it"
    gains = "GPU: for tensor cores where 3·s² is no multiple of 16: on top of the band GoogLeNet 1.5×; ResNet-50 1.4×"

    def _channels(self, stem: _Stem) -> int | None:
        channels = int(stem.weights.shape[1])
        wanted = next(n for n in range(channels, channels + _ALIGNED) if n * stem.block**2 % _ALIGNED == 0)
        return wanted if channels < wanted < 2 * channels else None


def _stem(graph: GraphView, node: onnx.NodeProto) -> _Stem | None:
    shape, weights = graph.shape(node.input[0]), graph.floats(node.input[1])
    size = graph.sizes(node.input[0], 2)
    if shape is None or len(shape) != 4 or size is None or weights is None or not graph.is_float(node.input[0]):
        return None
    window = window_of(node, size, tuple(weights.shape[2:]))
    group = next((item.i for item in node.attribute if item.name == "group"), 1)
    if window is None or group != 1 or weights.shape[1] > _MOST_CHANNELS or shape[1] != weights.shape[1]:
        return None
    down, across = window.strides
    if down < 2 or down != across or any(step != 1 for step in window.dilations) or min(window.output(size)) < 1:
        return None
    return _Stem(node, window, down, (size[0], size[1]), weights)


def _axis(stem: _Stem, axis: int, conv_pads: bool) -> _Axis:
    """By the convolution where ``conv_pads`` allows it and the axis qualifies, else by a Pad; see the module."""
    block, size, kernel = stem.block, stem.size[axis], stem.window.kernel[axis]
    begin, needed = stem.window.begin[axis], -(-kernel // block)
    read = stem.window.output(stem.size)[axis] + needed - 1  # blocks, from the first that is padded
    front = -begin % block
    before = (begin + front) // block
    behind = read - before - size // block
    fits = size % block == 0 and -(-(kernel + front) // block) == needed
    if conv_pads and fits and min(before, behind) >= 0:  # always so, but where the source's own padding crops
        return _Axis(front, (0, 0), (before, behind))
    return _Axis(0, (begin, block * read - size - begin), (0, 0))
