"""Rewrites: the same function as a faster graph, one rewrite a file, each with the proof in its docstring."""

from __future__ import annotations

from trtkit.graph.rewrites.base import Edit, Rewrite, RewriteResult, Site, made_by
from trtkit.graph.rewrites.lrn_band import LrnBand
from trtkit.graph.rewrites.stem_space_to_depth import StemSpaceToDepth, StemSpaceToDepth16

__all__ = ["ALL", "Edit", "Rewrite", "RewriteResult", "Site", "made_by"]

ALL: dict[str, Rewrite] = {rewrite.name: rewrite for rewrite in (LrnBand(), StemSpaceToDepth(), StemSpaceToDepth16())}
"""Every rewrite by its name."""
