"""What is made for several batch sizes before the first is measured: engines one by one, kernels several at a time."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_bench_rows import GIB, Notes, prepared, row
from trtkit.artifacts.device import Device
from trtkit.artifacts.sweep import Attempt
from trtkit.backends.base import Capabilities
from trtkit.errors import BuildError, RunError
from trtkit.pipeline.bench_ahead import compile_ahead
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.worker import side_by_side
from trtkit.worker.side_by_side import spare_processors


class Compiler:
    """Writes a plan's kernels; the first two wait for each other, so that one at a time would never end."""

    def __init__(self, *, together: bool = True, fails: tuple[int, ...] = ()) -> None:
        self.meeting = threading.Barrier(2, timeout=10)
        self.together, self.fails = together, fails
        self.asked: list[dict[str, tuple[int, ...]]] = []

    def __call__(self, family: str, plan: Path, file: Path, device: Any, settings: Any, run: Any) -> None:
        self.asked.append(dict(settings.shapes))
        if self.together and len(self.asked) <= 2:
            self.meeting.wait()
        if settings.batch in self.fails:
            raise RunError("no memory", hint="Wait.")
        file.write_text(f"kernels for {settings.batch}")


def kernels_in(folder: Path) -> Any:
    def kernels(made: Prepared, target: Any) -> Path:
        return folder / f"{made.artifact.name}.kernels"

    return kernels


def numbered(batch: int) -> Prepared:
    return replace(prepared(batch), artifact=Path(f"net.{batch}.plan"))


def test_every_listed_batch_is_compiled_at_its_own_shapes_several_at_a_time(tmp_path: Path) -> None:
    compiler, notes = Compiler(), Notes()
    asked = row(tmp_path, 1, 8, 64, prepare=numbered)
    assert compile_ahead(asked, kernels_in(tmp_path), notes, width=2, compiling=compiler) == 3
    assert sorted(shapes["x"][0] for shapes in compiler.asked) == [1, 8, 64]
    assert (tmp_path / "net.8.plan.kernels").read_text() == "kernels for 8"
    assert notes.stages == ["Compiling kernels for batches 1, 8, 64"]
    assert compile_ahead(asked, kernels_in(tmp_path), notes, width=2, compiling=compiler) == 0  # they are there
    assert len(compiler.asked) == 3


def test_what_comes_after_the_row_is_compiled_too_and_what_was_measured_is_not(tmp_path: Path) -> None:
    compiler = Compiler(together=False)
    asked = row(tmp_path, 1, 8, prepare=numbered, ahead=(8, 64))
    asked = replace(asked, sweep=asked.sweep.with_attempt(Attempt(1, "measured", None, "", None, None, 1.0, "x")))
    assert compile_ahead(asked, kernels_in(tmp_path), Notes(), width=2, compiling=compiler) == 2
    assert sorted(shapes["x"][0] for shapes in compiler.asked) == [8, 64]


def test_failures_are_left_to_the_measurement(tmp_path: Path) -> None:
    def refuses(batch: int) -> Prepared:
        if batch == 8:
            raise BuildError("no engine", hint="Change the model.")
        return numbered(batch)

    compiler = Compiler(together=False, fails=(1,))
    asked = row(tmp_path, 1, 8, 64, prepare=refuses)
    assert compile_ahead(asked, kernels_in(tmp_path), Notes(), width=2, compiling=compiler) == 1
    assert not (tmp_path / "net.1.plan.kernels").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "cpu"},
        {"width": 1},
        {"shared": True},
        {"batches": ()},
        {"batches": (8,)},
        {"available": lambda: 1},
        {"target": Target(Device("cuda"), Capabilities("null", "1.0", refused={"runtime_cache": "it has none"}), "")},
        {"kernels": lambda made, target: None},
    ],
)
def test_what_is_not_compiled_ahead(tmp_path: Path, changes: dict[str, Any]) -> None:
    compiler = Compiler(together=False)
    width, kernels = changes.pop("width", 2), changes.pop("kernels", kernels_in(tmp_path))
    shared, batches = changes.pop("shared", False), changes.pop("batches", (1, 8))
    asked = row(tmp_path, *batches, **{"prepare": numbered, "available": lambda: GIB, **changes})
    if shared:
        asked = replace(asked, sweep=replace(asked.sweep, profile="shared"))
    assert compile_ahead(asked, kernels, Notes(), width=width, compiling=compiler) == 0
    assert not compiler.asked


def test_the_width_is_half_of_the_processors_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, width in ((1, 0), (2, 1), (5, 2), (64, 6)):
        monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda pid, n=count: set(range(n)), raising=False)
        assert spare_processors(6) == width
