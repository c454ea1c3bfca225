"""Which input of an Add is the residual one: the shortcut around a convolution, not the convolution's own branch."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from trtkit.graph.quantizable import GraphIndex

__all__ = ["residual_input"]

_BETWEEN = frozenset(("BatchNormalization", "Identity", "Mul", "Add"))
"""What may stand between a product and the Add that closes a block and still be computed in one kernel with both."""


def residual_input(graph: GraphIndex, add: onnx.NodeProto, products: Collection[str]) -> int | None:
    """Position of the residual input of ``add``, or None where it closes no residual block.

    One input comes straight from a quantized product, through a BatchNormalization or a bias at most: the engine adds
    the other one, the residual, in that product's own kernel, and reads it quantized. Where both inputs come from
    products (a projection shortcut), the branch with fewer products behind it is the residual; of equals, the second.

    Args:
        graph: the graph.
        add: an Add node.
        products: names of the quantized nodes.
    """
    if len(add.input) != 2 or add.input[0] == add.input[1] or any(graph.is_constant(name) for name in add.input):
        return None
    if not all(graph.is_float32(name) for name in add.input):
        return None
    from_product = [_product_behind(graph, name, products) for name in add.input]
    if from_product[0] is None and from_product[1] is None:
        return None
    if from_product[0] is None or from_product[1] is None:
        return 0 if from_product[0] is None else 1
    depths = [_products_above(graph, name, products) for name in add.input]
    return 0 if depths[0] < depths[1] else 1


def _product_behind(graph: GraphIndex, name: str, products: Collection[str]) -> onnx.NodeProto | None:
    """The product that makes ``name``, if nothing else reads what lies between."""
    while (maker := graph.makers.get(name)) is not None and graph.only_user(name) is not None:
        if maker.name in products:
            return maker
        computed = [item for item in maker.input if item and not graph.is_constant(item)]
        if maker.op_type not in _BETWEEN or len(computed) != 1:
            return None
        name = computed[0]
    return None


def _products_above(graph: GraphIndex, name: str, products: Collection[str]) -> int:
    """The longest chain of products that ends in ``name``."""
    depth: dict[str, int] = {}
    pending = [name]
    while pending:
        current = pending[-1]
        maker = graph.makers.get(current)
        sources = [item for item in maker.input if item in graph.makers] if maker is not None else []
        missing = [item for item in sources if item not in depth]
        if missing:
            pending += missing
            continue
        pending.pop()
        own = 1 if maker is not None and maker.name in products else 0
        depth[current] = max((depth[item] for item in sources), default=0) + own
    return depth[name]
