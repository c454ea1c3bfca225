"""The proof of precision as a noun: the data type in which every Conv, Gemm and MatMul runs inside the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from trtkit.artifacts.files import json_ready
from trtkit.artifacts.layers import LayerSource

__all__ = ["INSIDE", "WEIGHTED_OPS", "NodePrecision", "PrecisionProof", "tf32_products"]

WEIGHTED_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""ONNX operators whose data type decides the precision of a plan; everything else follows them."""

INSIDE = "inside a branch of If, Loop or Scan"
"""Words in the reason of a node that is not proven because it is no node of the main graph."""


def tf32_products(precision: str) -> bool:
    """Whether ONNX Runtime's CUDA provider may multiply FP32 in TF32 for an artifact of this precision.

    FP16 too: told ``use_tf32=0``, the provider keeps cuDNN's convolutions off the tensor cores altogether, whatever
    their type (``deselect_numeric_notes`` in its ``nn/conv.cc``), and FP16 is then no faster than FP32.
    """
    return precision in ("tf32", "fp16")


@dataclass(frozen=True)
class NodePrecision:
    """What was found about one ONNX node.

    Attributes:
        name: the ONNX node's name; may be empty.
        op: its operator type.
        dtype: the data type it runs in (``int8``, ``fp16``, …); None when that is not proven.
        layers: names of the engine layers on which the finding rests.
        reason: why it is not proven, or why it kept another type than asked; None if not known.
    """

    name: str
    op: str
    dtype: str | None
    layers: tuple[str, ...] = ()
    reason: str | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> NodePrecision:
        """The inverse of ``dataclasses.asdict``."""
        return cls(value["name"], value["op"], value["dtype"], tuple(value["layers"]), value["reason"])


@dataclass(frozen=True)
class PrecisionProof:
    """The data type of each weighted node of a plan, and of the others worth a word (LRN, Softmax, normalizations).

    Attributes:
        asked: the precision that was asked for: ``fp32``, ``tf32``, ``fp16``, ``bf16``, ``int8``, ``fp8``.
        source: who reported the layers.
        nodes: the weighted nodes (:data:`WEIGHTED_OPS`), in the order of the graph.
        others: further nodes whose type is reported but does not count.
    """

    asked: str
    source: LayerSource
    nodes: tuple[NodePrecision, ...]
    others: tuple[NodePrecision, ...] = ()

    @property
    def asked_dtype(self) -> str:
        """The data type that shows in the layers for :attr:`asked`: TF32 is a way of multiplying FP32 data."""
        return "fp32" if self.asked == "tf32" else self.asked

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Weighted nodes by operator, then by data type; ``unproven`` stands for those not found."""
        pairs = Counter((node.op, node.dtype or "unproven") for node in self.nodes)
        return {
            op: {dtype: n for (o, dtype), n in sorted(pairs.items()) if o == op}
            for op in WEIGHTED_OPS
            if any(node.op == op for node in self.nodes)
        }

    @property
    def unproven(self) -> tuple[NodePrecision, ...]:
        """Weighted nodes about which the layers say nothing certain."""
        return tuple(node for node in self.nodes if node.dtype is None)

    @property
    def stayed(self) -> tuple[NodePrecision, ...]:
        """Weighted nodes proven to run in another type than asked."""
        return tuple(node for node in self.nodes if node.dtype not in (None, self.asked_dtype))

    def fraction(self, dtype: str) -> float | None:
        """Share of the weighted nodes proven to run in ``dtype``, 0 to 1; those unproven count as not.

        None when the model has no weighted node.
        """
        wanted = "fp32" if dtype == "tf32" else dtype
        return sum(node.dtype == wanted for node in self.nodes) / len(self.nodes) if self.nodes else None

    @property
    def sentence(self) -> str:
        """One line for people: ``57 of 57 Conv and 1 of 1 Gemm in FP16; LRN in FP32 (2)``."""
        asked, counts = self.asked_dtype, self.counts
        if not self.nodes:
            return f"no {', '.join(WEIGHTED_OPS[:-1])} or {WEIGHTED_OPS[-1]} in the model"
        shares = [f"{found.get(asked, 0)} of {sum(found.values())} {op}" for op, found in counts.items()]
        parts = [f"{_and(shares)} in {_label(asked)}"]
        parts += [
            f"{op} in {_label(dtype)} ({n})"
            for op, found in counts.items()
            for dtype, n in found.items()
            if dtype not in (asked, "unproven")
        ]
        others = Counter((node.op, node.dtype) for node in self.others)
        parts += [f"{op} in {dtype.upper()} ({n})" for (op, dtype), n in others.items() if dtype and dtype != asked]
        if self.unproven:
            inside = sum(INSIDE in (node.reason or "") for node in self.unproven)
            branches = f" ({inside} of them {INSIDE}, whose layers engines do not name)" if inside else ""
            parts.append(f"not proven: {_names(self.unproven)}{branches}")
        return "; ".join(parts)

    def explained(self, why: Mapping[str, str]) -> PrecisionProof:
        """The same proof, with a reason for each node that kept another type and whose name is in ``why``."""
        kept = {node.name for node in self.stayed}
        nodes = tuple(
            replace(node, reason=why[node.name]) if node.name in kept and node.name in why else node
            for node in self.nodes
        )
        return replace(self, nodes=nodes)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; the summaries go along for readers of the file and are made anew on reading."""
        value: dict[str, Any] = json_ready({**asdict(self), "counts": self.counts, "sentence": self.sentence})
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PrecisionProof:
        """The inverse of :meth:`to_json`."""
        nodes, others = (tuple(NodePrecision.from_json(v) for v in value[key]) for key in ("nodes", "others"))
        return cls(value["asked"], value["source"], nodes, others)


def _label(dtype: str) -> str:
    # The layers name the type of the data; a TF32 product reads and writes FP32. (Nothing but products can be TF32.)
    return "FP32 (or TF32)" if dtype == "fp32" else dtype.upper()


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _names(nodes: tuple[NodePrecision, ...], limit: int = 5) -> str:
    shown = ", ".join(f"{node.op} {node.name!r}" for node in nodes[:limit])
    return shown if len(nodes) <= limit else f"{shown} and {len(nodes) - limit} more"
