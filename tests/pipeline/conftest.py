"""Fixtures of the tests of convert."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.graph.models import perceptron
from tests.pipeline.conversions import Copy, asked, saved, the_choice
from trtkit.errors import BuildError
from trtkit.pipeline import conversion
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.request import ConvertResult
from trtkit.stages import build as build_stage


@pytest.fixture
def one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "choose", the_choice)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved(perceptron(hidden=16), tmp_path / "source")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> ConvertResult:
    """A plan of the null family, which tests copy before they touch it."""
    folder = tmp_path_factory.mktemp("first")
    return convert(asked(saved(perceptron(hidden=16), folder / "source"), folder / "plans"))


@pytest.fixture
def copy(first: ConvertResult, tmp_path: Path) -> Copy:
    return Copy(first, tmp_path / "plans")


@pytest.fixture
def no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies in each build, which also shows that a build was begun."""

    def die(*args: object, **options: object) -> None:
        raise BuildError("The worker process was killed by SIGKILL.", hint="Free memory.")

    monkeypatch.setattr(build_stage, "worker", SimpleNamespace(run=die))
