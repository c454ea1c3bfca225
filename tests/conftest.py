"""For all tests: what a family can do here is looked at once; contests and a cache that several of them share."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trtkit import worker
from trtkit.backends import probing
from trtkit.measurement.contest import ContestRule
from trtkit.pipeline import tuning
from trtkit.pipeline.rewrite_ground import MeasuringGround

_NO_MATTER = {"PYTEST_CURRENT_TEST", "XDG_CACHE_HOME", "COLUMNS", "TERMINAL_WIDTH"}
_SEEN: dict[tuple[object, ...], worker.WorkerResult] = {}


def _look(function: str, arguments: Mapping[str, Any], **options: Any) -> worker.WorkerResult:
    """A probing worker's answer: the same as long as modules and environment are, so one worker is enough for each."""
    env = tuple(sorted((name, value) for name, value in os.environ.items() if name not in _NO_MATTER))
    key = (function, arguments["family"], str(options["env"]), tuple(sys.path), env)
    if key not in _SEEN:
        _SEEN[key] = worker.run(function, arguments, **options)
    return _SEEN[key]


@pytest.fixture(autouse=True, scope="session")
def _families_are_looked_at_once() -> Iterator[None]:
    """Commands that tests start as programs of their own look for themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "worker", SimpleNamespace(run=_look))
        patch.setattr(probing, "looking", lambda family: nullcontext())
        yield


@pytest.fixture
def short_contests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contests of rewrites that are decided by fewer and shorter rounds."""
    rule = ContestRule(burst_s=0.03, rounds=6, max_rounds=12)
    monkeypatch.setattr(tuning, "MeasuringGround", functools.partial(MeasuringGround, rule=rule))


@pytest.fixture(scope="session")
def pages_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the README and of all examples: a reader has one, too."""
    return tmp_path_factory.mktemp("pages_cache")
