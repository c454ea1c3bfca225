"""Rewrites: the same function as a faster graph, one rewrite a file, each with the proof in its docstring."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

import onnx

from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import TrtkitError, UsageError
from trtkit.graph.rewrites.base import Edit, Rewrite, RewriteResult, Site, made_by
from trtkit.graph.rewrites.fc_as_conv import FcAsConv
from trtkit.graph.rewrites.focus_space_to_depth import FocusSpaceToDepth
from trtkit.graph.rewrites.fold_batchnorm import FoldBatchnorm
from trtkit.graph.rewrites.fold_constants import FoldConstants
from trtkit.graph.rewrites.fold_pad import FoldPad
from trtkit.graph.rewrites.fuse_layernorm import FuseLayernorm
from trtkit.graph.rewrites.global_pool import GlobalPool
from trtkit.graph.rewrites.hard_swish import HardSwish
from trtkit.graph.rewrites.join_groups import JoinGroups
from trtkit.graph.rewrites.lrn_band import LrnBand
from trtkit.graph.rewrites.merge_parallel_1x1 import MergeParallel1x1
from trtkit.graph.rewrites.remove_dead import RemoveDead
from trtkit.graph.rewrites.remove_identity import RemoveIdentity
from trtkit.graph.rewrites.sink_transposes import SinkTransposes
from trtkit.graph.rewrites.split_groups import SplitGroups
from trtkit.graph.rewrites.stem_space_to_depth import StemSpaceToDepth, StemSpaceToDepth16
from trtkit.graph.rewrites.uint8_nhwc_input import Uint8NhwcInput

__all__ = [
    "ALL",
    "SAFE",
    "Edit",
    "Rewrite",
    "RewriteResult",
    "Site",
    "apply_all",
    "attempt",
    "made_by",
    "named",
    "safe",
]

ALL: dict[str, Rewrite] = {
    rewrite.name: rewrite
    for rewrite in (
        Uint8NhwcInput(),
        FoldConstants(),
        RemoveIdentity(),
        RemoveDead(),
        SinkTransposes(),
        FoldBatchnorm(),
        FoldPad(),
        HardSwish(),
        GlobalPool(),
        FocusSpaceToDepth(),
        LrnBand(),
        StemSpaceToDepth16(),
        StemSpaceToDepth(),
        FuseLayernorm(),
        FcAsConv(),
        MergeParallel1x1(),
        JoinGroups(),
        SplitGroups(),
    )
}
"""Every rewrite by its name, in the order in which they are best applied: what cleans up before what restructures.

Of two that fit one place the first takes it: with both stems asked for, the plain one gets what ``_16`` leaves alone.
"""

SAFE: tuple[str, ...] = (
    "fold_constants",
    "remove_identity",
    "remove_dead",
    "sink_transposes",
    "fold_batchnorm",
    "fold_pad",
    "global_pool",
    "focus_space_to_depth",
    "lrn_band",
)
"""Rewrites that were never slower wherever they were measured, in the order of application."""

_SAFE_ON_TENSORRT: tuple[str, ...] = ("stem_space_to_depth_16", "stem_space_to_depth")
"""Further ones for TensorRT and TensorRT-RTX. On a CPU the space-to-depth stem cost AlexNet with a band 17 % (168 → 139
images/s, ONNX Runtime, two cores)."""

_NOT_ON_CUDA: tuple[str, ...] = ("lrn_band",)
"""Slower in ONNX Runtime's CUDA provider, which fuses no elementwise kernels into convolutions and has an LRN kernel:
0.83 × (AlexNet) and 0.90 × (GoogLeNet), FP16, batch 64, on an H200."""

_SAFE_ON_CUDA: tuple[str, ...] = ("stem_space_to_depth",)
"""Further ones for it: 1.35 × (AlexNet FP16, batch 1024, on an H200), and never less than 0.995 ×."""

_SAFE_ON_CPU: tuple[str, ...] = ("hard_swish",)
"""Further ones for a CPU. TensorRT-RTX fuses the spelt-out hard-swish into the convolution before it more often than
the gate: 75 layers of a text classifier became 80."""

_ON_CPU = ("onnxruntime:cpu", "null")
_TENSORRT = ("tensorrt", "tensorrt-rtx")


def safe(target: str) -> tuple[str, ...]:
    """The rewrites that were never slower on a target, in the order of application.

    Args:
        target: a family, such as ``tensorrt-rtx``, and perhaps ``:`` with what it runs on: ``onnxruntime:cpu``,
            ``onnxruntime:cuda``, ``tensorrt:9.0``.
    """
    chosen = set(SAFE)
    if target in _ON_CPU:
        chosen |= set(_SAFE_ON_CPU)
    elif target.partition(":")[0] in _TENSORRT:
        chosen |= set(_SAFE_ON_TENSORRT)
    else:
        chosen = (chosen | set(_SAFE_ON_CUDA)) - set(_NOT_ON_CUDA)
    return tuple(name for name in ALL if name in chosen)


def named(names: Sequence[str], preprocessing: Preprocessing | None = None) -> tuple[Rewrite, ...]:
    """The rewrites of these names, in their order.

    Args:
        names: keys of :data:`ALL`.
        preprocessing: what ``uint8_nhwc_input`` puts into the graph; ``None`` puts no normalisation there.

    Raises:
        UsageError: a name is unknown, or is there twice.
    """
    for name in names:
        if name not in ALL:
            close = difflib.get_close_matches(name, ALL, n=1)
            raise UsageError(
                f"There is no rewrite {name!r}. The rewrites are: {', '.join(ALL)}.",
                hint=f"Did you mean {close[0]!r}?" if close else "Choose from these names.",
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"The rewrite {twice[0]!r} is there twice.", hint="Name each rewrite once.")
    images = Uint8NhwcInput(preprocessing)
    return tuple(images if name == images.name else ALL[name] for name in names)


def apply_all(
    model: onnx.ModelProto,
    names: Sequence[str],
    *,
    only: Mapping[str, Collection[str]] | None = None,
    preprocessing: Preprocessing | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> tuple[onnx.ModelProto, tuple[Site, ...]]:
    """Apply rewrites one after another.

    Args:
        model: prepared, weights inside; it is not changed.
        names: of the rewrites, in the order in which they are applied.
        only: rewrite → names of anchors; a rewrite that is missing there is applied wherever it fits.
        preprocessing: as for :func:`named`.
        failed: is told of a rewrite that fails, a bug, and why; it is left out. ``None`` lets the error through.

    Returns:
        The new model (``model`` itself where nothing changed), and every site.

    Raises:
        UsageError: a name is unknown, or is there twice.
        ModelError: shape inference finds a contradiction in the model.
    """
    sites: list[Site] = []
    for rewrite in named(names, preprocessing):
        places = (only or {}).get(rewrite.name)
        result = rewrite.apply(model, only=places) if failed is None else attempt(rewrite, model, places)
        if isinstance(result, str):
            assert failed is not None
            failed(rewrite.name, result)
        elif result.modified:
            model = result.model
            sites += result.sites
    return model, tuple(sites)


def attempt(rewrite: Rewrite, model: onnx.ModelProto, only: Collection[str] | None = None) -> RewriteResult | str:
    """Apply a rewrite as :meth:`Rewrite.apply` does, or say why it failed.

    A rewrite that raises anything but an error of trtkit's own has met a graph that it was not written for. That is a
    bug, and no reason for the user to get no model.

    Raises:
        ModelError: shape inference finds a contradiction in the model.
    """
    try:
        return rewrite.apply(model, only=only)
    except TrtkitError:
        raise
    except Exception as error:
        return f"it failed on this graph, which is a bug in trtkit ({type(error).__name__}: {error})"
