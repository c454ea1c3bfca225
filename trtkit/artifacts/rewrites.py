"""What rewriting a graph did: where each rewrite was applied, how its result was checked, and whether it was kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["AppliedRewrite", "RewriteReport", "Site"]


@dataclass(frozen=True)
class Site:
    """A place where a rewrite applies, or was applied.

    Attributes:
        rewrite: its name.
        nodes: names of the nodes that it replaces, in graph order.
        anchor: name of the node that the site is called after.
        region_hash: SHA-256 of the replaced region's operators, attributes, shapes and types, without the weights.
        made: names of the nodes that stand there afterwards.
        detail: what was found, for people.
    """

    rewrite: str
    nodes: tuple[str, ...]
    anchor: str
    region_hash: str
    made: tuple[str, ...]
    detail: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Site:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "nodes": tuple(value["nodes"]), "made": tuple(value["made"])})


@dataclass(frozen=True)
class AppliedRewrite:
    """One rewrite of a model.

    Attributes:
        name: of the rewrite.
        sites: where it was applied; none where the model offers it no place.
        difference: largest relative L2 error of any output against the source, over all samples, with all rewrites that
            were kept (if one had to be left out: with this one and those before it); ``None`` where nothing was
            checked, or where the outputs cannot be compared (NaN, infinity).
        limit: what would have been allowed.
        kept: whether the model has it.
        reason: why it was not kept, a sentence; ``None`` if it was.
        gain: measured speed after it over speed before it; ``None`` where nothing was measured.
        gain_interval: 95 % interval of the gain; ``None`` where none is known.
        gain_source: where the gain was measured, in words; ``None`` without a gain.
    """

    name: str
    sites: tuple[Site, ...]
    difference: float | None
    limit: float | None
    kept: bool
    reason: str | None = None
    gain: float | None = None
    gain_interval: tuple[float, float] | None = None
    gain_source: str | None = None

    def sentence(self, known: str = "") -> str:
        """For people, one line: where, and what it gained; who was measured, unless ``known`` says so already."""
        places = f"{len(self.sites)} {'place' if len(self.sites) == 1 else 'places'}"
        if not self.kept:
            return f"{self.name}: left out: {self.reason}"
        if self.gain is None:
            return f"{self.name}: {places}"
        where = "" if self.gain_source is None or self.gain_source in known else f" for {self.gain_source}"
        return f"{self.name}: {places}, {self.gain:.2f} × as fast{where}"


@dataclass(frozen=True)
class RewriteReport:
    """All rewrites that were tried on a model, in the order they were tried.

    Attributes:
        asked: what the user asked for: ``safe``, ``auto``, ``none`` or names.
        rewrites: one entry for each.
        own_difference: largest relative L2 error that ONNX Runtime's own optimizations make on the source and the same
            samples; ``None`` where every difference was so small that nobody needed to know.
        samples: labels of the inputs that were compared.
        where: what executed both sides; ``None`` where nothing was checked.
        seconds: wall time of rewriting, measuring and checking.
        chosen_because: how the rewrites were chosen, a clause.
    """

    asked: str
    rewrites: tuple[AppliedRewrite, ...]
    own_difference: float | None = None
    samples: tuple[str, ...] = ()
    where: str | None = None
    seconds: float = 0.0
    chosen_because: str = ""

    @property
    def kept(self) -> tuple[AppliedRewrite, ...]:
        """The rewrites that the model has."""
        return tuple(item for item in self.rewrites if item.kept)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rewrites that the model has, in order: its transforms."""
        return tuple(item.name for item in self.kept)

    @property
    def lines(self) -> tuple[str, ...]:
        """For people: each rewrite that the model has, how far the result is from the source, and why these."""
        chosen = f"chosen: {self.chosen_because}"
        if not self.kept:
            tried = [item.name for item in self.rewrites if item.sites or item.gain is not None]
            why = f"; {', '.join(tried)} brought nothing" if tried and self.asked == "auto" else ""
            return (f"none: the graph is the source's{why}", *([chosen] if self.chosen_because else []))
        lines = [item.sentence(self.chosen_because) for item in self.kept]
        off = dict.fromkeys((item.difference, item.limit) for item in self.kept if item.difference is not None)
        if len(off) == 1:  # the result of all was checked
            ((difference, limit),) = off
            who = "together they differ" if len(self.kept) > 1 else "the result differs"
            lines.append(f"{who} by {difference:.1e} from the source (limit {limit:.1e})")
        else:
            checked = [item for item in self.kept if item.difference is not None]
            lines += [f"{item.name}: differs by {item.difference:.1e} (limit {item.limit:.1e})" for item in checked]
        return (*lines, *([chosen] if self.chosen_because else []))

    @property
    def replay(self) -> dict[str, tuple[str, ...]]:
        """What makes the same model from the same source again: rewrite → anchors, in order."""
        return {item.name: tuple(dict.fromkeys(site.anchor for site in item.sites)) for item in self.kept}

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RewriteReport:
        """The inverse of :meth:`to_json`."""
        rewrites = tuple(
            AppliedRewrite(
                **{
                    **item,
                    "sites": tuple(Site.from_json(site) for site in item["sites"]),
                    "gain_interval": tuple(item["gain_interval"]) if item.get("gain_interval") else None,
                }
            )
            for item in value["rewrites"]
        )
        return cls(**{**value, "rewrites": rewrites, "samples": tuple(value["samples"])})
