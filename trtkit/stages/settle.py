"""What the profile's sizes decide about the structure of a model is decided before it is cast and built."""

from __future__ import annotations

from dataclasses import replace

from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.profile import OptimizationProfile

__all__ = ["settle"]


def settle(exported: ExportedModel, profile: OptimizationProfile) -> ExportedModel:
    """Branches that ask for a pinned size are inlined, and a Squeeze without axes gets them; most models have neither
    and come back as they are. See :func:`trtkit.graph.settle.settle`.

    Args:
        exported: checked and prepared; its model is changed in place.
        profile: the shapes that the plan is for.

    Raises:
        ModelError: the rank of a tensor depends on a size that the profile leaves open, or on data.
    """
    from trtkit.graph.check import check
    from trtkit.graph.settle import settle as settle_graph

    name = exported.source.name
    if not settle_graph(exported.model, profile, name):
        return exported
    check(exported.model, name)
    return replace(exported, transforms=(*exported.transforms, "settle"))
