"""From the layers of a plan to the proof of its precision: each weighted ONNX node is looked up, none is assumed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import onnx

from trtkit.artifacts.layers import Layer, LayerReport, widest
from trtkit.artifacts.precision import INSIDE, WEIGHTED_OPS, NodePrecision, PrecisionProof
from trtkit.graph.rewrites.base import made_by
from trtkit.graph.tree import every_graph

__all__ = ["layers_of_the_source", "names_in_branches", "prove"]

# TensorRT-RTX calls a product NODE_mylI_J or NODE_UK_mylI_J, and NODE+NODE_mylI_J when it merged two nodes.
_LAYER_SUFFIX = re.compile(r"(?:_U\d+)?_myl\d+_\d+$")
_OTHER_OPS = frozenset(
    {"LRN", "Softmax", "LogSoftmax", "LayerNormalization", "GroupNormalization", "InstanceNormalization"}
    | {"RMSNormalization", "LpNormalization"}
)


def _witnesses(node: str, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Of the layers that carry a weighted node, those that compute its product.

    A convolution with Q/DQ around it is named by three layers: the kernel before that quantizes, the product, and
    the kernel after that adds the bias and applies the activation. Only the product tells its precision. Where
    several products carry the node (its bias may ride on the next one), the one named after it is taken. Where none
    is known as a product, all of them are: the widest type decides, which can understate, never overstate.
    """
    products = tuple(layer for layer in layers if layer.is_product)
    named = tuple(layer for layer in products if node in _LAYER_SUFFIX.sub("", layer.name).split("+"))
    return named or products or layers


def _find(name: str, op: str, report: LayerReport, carriers: tuple[Layer, ...], times: int) -> NodePrecision:
    if not name:
        return NodePrecision(name, op, None, reason="the node has no name")
    if times > 1:
        return NodePrecision(name, op, None, reason=f"{times} nodes have this name")
    if not report.has_dtypes:
        return NodePrecision(name, op, None, reason="the layers were reported without data types")
    if not carriers:
        return NodePrecision(name, op, None, reason="no layer names it")
    chosen = _witnesses(name, carriers) if op in WEIGHTED_OPS else carriers
    dtype = widest(layer.dtype for layer in chosen)
    reason = None if dtype else "its layer does not tell its data types"
    return NodePrecision(name, op, dtype, tuple(layer.name for layer in chosen), reason)


def layers_of_the_source(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Name and operator of every node, for :func:`prove`, but for products that a rewrite made.

    Those stand for no layer of the source (an LRN's sum as a convolution): they stay float on purpose, and to count
    them would tell nothing of the model.
    """
    nodes = (node for graph in every_graph(model.graph) for node in graph.node)
    return [(n.name, n.op_type) for n in nodes if n.op_type not in WEIGHTED_OPS or made_by(n) is None]


def names_in_branches(model: onnx.ModelProto) -> frozenset[str]:
    """Names of nodes that are all inside branches (of If, Loop or Scan): engines seldom name layers after them."""
    outside = {node.name for node in model.graph.node}
    return frozenset({node.name for graph in every_graph(model.graph) for node in graph.node} - outside)


def prove(
    nodes: Sequence[tuple[str, str]], report: LayerReport, asked: str, in_branches: Collection[str] = ()
) -> PrecisionProof:
    """State for every weighted node in which data type it runs.

    Args:
        nodes: name and operator type of every node of the ONNX graph that was built, in order. Operators other than
            :data:`~trtkit.artifacts.precision.WEIGHTED_OPS` and the normalizations are passed over.
        report: the layers of the plan.
        asked: the precision that was asked for, such as ``fp16`` or ``int8``.
        in_branches: names of nodes inside branches, for the reason of what is not proven.

    Returns:
        The proof. A node that no layer names, that has no name or shares it is unproven, with the reason.
    """
    times = Counter(name for name, _ in nodes)
    carriers: dict[str, list[Layer]] = {}
    for layer in report.compute_layers:
        for node in layer.onnx_nodes:
            carriers.setdefault(node, []).append(layer)

    def all_of(wanted: frozenset[str]) -> tuple[NodePrecision, ...]:
        found = (
            _find(name, op, report, tuple(carriers.get(name, ())), times[name]) for name, op in nodes if op in wanted
        )
        return tuple(
            replace(node, reason=f"{node.reason}; it is {INSIDE}")
            if node.dtype is None and node.name in in_branches
            else node
            for node in found
        )

    return PrecisionProof(asked, report.source, all_of(frozenset(WEIGHTED_OPS)), all_of(_OTHER_OPS))
