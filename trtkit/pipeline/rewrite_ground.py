"""Where rewrites run against each other: candidates are written, built and timed on the device at hand, and kept."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trtkit.artifacts.exported import ExportedModel
from trtkit.errors import TrtkitError
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.rewrite_candidates import Candidates
from trtkit.pipeline.rewrite_place import Place
from trtkit.pipeline.rewrite_search import Names, TimeUpError
from trtkit.stages.contest import ContestRequest, contest
from trtkit.stages.plan_cache import PlanCache

__all__ = ["MeasuringGround"]

_RULE = ContestRule()


class MeasuringGround:
    """See :class:`trtkit.pipeline.rewrite_search.Ground`.

    Contests are remembered by the hashes of both graphs (operators, attributes, shapes and types, not the weights),
    family, version, device, precision and shapes: whoever meets them again need not measure.

    Args:
        exported: the model without rewrites.
        place: what is measured for.
        folder: for the candidates; the newest stay there.
        cache: remembers; ``None`` to measure everything anew.
        seconds: the longest that all measurements together may take.
        listener: is told what the workers report.
        clock: seconds, never going back.
        rule: of a contest; its limit is cut to what is left of ``seconds``.
        width: how many candidates :meth:`prepare` makes at a time; ``None`` for what suits the place.
    """

    def __init__(
        self,
        exported: ExportedModel,
        place: Place,
        folder: Path,
        cache: PlanCache | None,
        seconds: float,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        rule: ContestRule = _RULE,
        width: int | None = None,
    ) -> None:
        self._exported, self._place, self._cache = exported, place, cache
        self._listener, self._clock, self._rule = listener, clock, rule
        self._ends = clock() + seconds
        self._candidates = Candidates(exported, place, folder, listener, width)
        self._known: dict[tuple[str, str], Contest | str] = {}
        self.measured = 0
        self.remembered = 0

    def key(self, names: Names) -> str:
        """See :meth:`trtkit.pipeline.rewrite_search.Ground.key`."""
        return self._candidates.key(names)

    @property
    def width(self) -> int:
        """See :attr:`trtkit.pipeline.rewrite_search.Ground.width`."""
        return self._candidates.width

    @property
    def _left_s(self) -> float:
        return self._ends - self._clock()

    def prepare(self, sets: Sequence[Names], against: Names | None = None) -> None:
        """See :meth:`trtkit.pipeline.rewrite_search.Ground.prepare`."""
        if against is not None:
            here = self.key(against)
            new = [names for names in sets if not self._is_known((here, self.key(names)))]
            sets = [against, *new] if new else []
        if self.width > 1 and sets and self._left_s > 0:
            self._candidates.prepare(sets, lambda: self._left_s)

    def anew(self, rule: ContestRule, seconds: float) -> MeasuringGround:
        """A ground with the same candidates, of which none is built again, where every contest is held once more."""
        other = copy.copy(self)
        other._rule, other._ends, other._known = rule, self._clock() + seconds, {}
        other.measured = other.remembered = 0
        return other

    def _is_known(self, pair: tuple[str, str]) -> bool:
        return pair in self._known or self._look_up(pair) is not None

    def contest(self, first: Names, second: Names) -> Contest | str:
        """See :meth:`trtkit.pipeline.rewrite_search.Ground.contest`."""
        pair = self.key(first), self.key(second)
        if pair not in self._known:
            kept = self._look_up(pair)
            self.remembered += kept is not None
            found: Contest | str = kept or self._measured(first, second)
            if kept is None and isinstance(found, Contest) and self._cache is not None:
                self._cache.remember(self._label, self._identity(pair), found.to_json(), kind="rewrites")
            self._known[pair] = found
            self._known[pair[::-1]] = found.reversed if isinstance(found, Contest) else found
        return self._known[pair]

    def _look_up(self, pair: tuple[str, str]) -> Contest | None:
        if self._cache is None:
            return None
        for turned in (False, True):
            kept = self._cache.remembered(self._label, self._identity(pair[::-1] if turned else pair), kind="rewrites")
            if kept is not None:
                with contextlib.suppress(KeyError, TypeError, ValueError):  # a file that someone has changed
                    found = Contest.from_json(kept)
                    return found.reversed if turned else found
        return None

    @property
    def _label(self) -> str:
        return f"{self._place.can.label}.{self._place.precision}.b{self._place.batch}"

    def _identity(self, pair: tuple[str, str]) -> dict[str, object]:
        place = self._place
        return {
            "graphs": list(pair),
            "family": [place.can.family, place.can.version],
            "device": [place.device.kind, place.device_name, place.can.driver],
            "precision": place.precision,
            "settings": place.settings.to_json(),
        }

    def _measured(self, first: Names, second: Names) -> Contest | str:
        if self._left_s <= 0:
            raise TimeUpError
        place = self._place
        try:
            files = self._candidates.files(first, second)
            rule = replace(self._rule, limit_s=max(min(self._rule.limit_s, self._left_s), 1.0))
            request = ContestRequest(
                place.can.family,
                files[0],
                files[1],
                place.device,
                place.settings,
                rule,
                self._exported.source.input_std,
                runtime_caches=(self._candidates.kernels(files[0]), self._candidates.kernels(files[1])),
            )
            found = contest(request, self._listener.event)
        except TrtkitError as error:  # a candidate that cannot be built or run has lost
            return error.message
        self.measured += 1
        return found
