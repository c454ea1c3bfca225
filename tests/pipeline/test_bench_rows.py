"""One row, measured by a script: what is saved after each attempt, what is kept, and how failures are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.test_families import conv_net
from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.backends.base import Capabilities
from trtkit.errors import PlanError, RunError, TrtkitError, UsageError
from trtkit.graph.footprint import Footprint
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_rows import Row, attempt_seconds, run_row
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.worker import Log, Progress

GIB = 2**30
MEMORY = RunError("Executing the plan failed: CUDA error: out of memory", hint="Lower it.")


class Notes:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)

    def event(self, event: Progress | Log) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


class Machine:
    """Measures 100 images/s at every batch up to ``top``; keeps what it was asked."""

    def __init__(self, top: int, error: TrtkitError = MEMORY, *, stop_at: int | None = None) -> None:
        self.top, self.error, self.stop_at = top, error, stop_at
        self.asked: list[BenchSettings] = []

    def __call__(
        self, prepared: Prepared, target: Target, settings: BenchSettings, seconds: float | None
    ) -> BenchResult:
        if settings.batch == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(settings)
        if settings.batch > self.top:
            raise self.error
        line = timeline([settings.batch * 10.0] * 10, images=settings.batch)
        return clean(settings={"batch": settings.batch, "mode": settings.mode, "seed": settings.seed}, timeline=line)


def prepared(batch: int) -> Prepared:
    subject = clean().subject
    return Prepared(
        subject, Path("net.plan"), lambda n: {"x": (n, 3, 8, 8)}, model=conv_net, profile=f"x {batch}x3x8x8"
    )


def row(folder: Path, *batches: int, limit: int | None = 64, kind: str = "cuda", **changes: object) -> Row:
    target = Target(Device("cuda" if kind == "cuda" else "cpu"), Capabilities("null", "1.0"), "asked for")
    sweep = Sweep(
        "key", "net", "fp16", "null", str(target.device), "compute", "each", batches, None if batches else limit
    )
    settings = BenchSettings("compute", 0)
    whole = Row(sweep, target, settings, prepared, lambda: GIB, folder, "net.fp16.null.cuda0")
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_list_is_measured_in_its_order_and_each_saved(tmp_path: Path) -> None:
    machine = Machine(64)
    found = run_row(row(tmp_path, 8, 1), machine, Notes())
    assert [run.result.settings.batch for run in found.runs] == [1, 8]
    assert [settings.batch for settings in machine.asked] == [8, 1]
    assert machine.asked[0].shapes == {"x": (8, 3, 8, 8)} and machine.asked[0].profile == "x 8x3x8x8"
    assert {path.name for path in tmp_path.iterdir()} == {
        "net.fp16.null.cuda0.b1.compute.bench.json",
        "net.fp16.null.cuda0.b8.compute.bench.json",
        "net.fp16.null.cuda0.compute.sweep.json",
    }
    assert found.sweep.complete and Sweep.read(tmp_path / "net.fp16.null.cuda0.compute.sweep.json") == found.sweep
    assert BenchResult.from_json(json.loads(found.runs[1].file.read_text())) == found.runs[1].result


def test_one_batch_leaves_one_file(tmp_path: Path) -> None:
    run_row(row(tmp_path, 8), Machine(64), Notes())
    assert [path.name for path in tmp_path.iterdir()] == ["net.fp16.null.cuda0.b8.compute.bench.json"]


def test_a_ladder_finds_the_largest_and_says_why_it_ends(tmp_path: Path) -> None:
    machine = Machine(22)
    found = run_row(row(tmp_path), machine, Notes())
    assert found.sweep.largest == 22
    assert [run.result.settings.batch for run in found.runs] == [1, 2, 4, 8, 16, 22]
    assert found.failures == ()
    assert found.sweep.stopped is not None
    assert found.sweep.stopped.startswith(
        "batch 22 is the largest that ran; 23 failed: the device's memory is too small"
    )
    assert "weights and activations need about" in found.sweep.stopped
    assert "1.0 GiB were free" in found.sweep.stopped
    brief = [settings for settings in machine.asked if settings.batch in (20, 24)]
    assert all(settings.max_duration_s == 0 and settings.warmup_s == 0 for settings in brief)
    assert machine.asked[-1].batch == 22 and machine.asked[-1].duration_s == 3.0


def test_memory_in_use_shortens_the_search(tmp_path: Path) -> None:
    plain = Machine(3000)

    def telling(made: Prepared, target: Target, settings: BenchSettings, seconds: float | None) -> BenchResult:
        result = plain(made, target, settings, seconds)
        facts = {**result.conditions.facts, "device_bytes": settings.batch * 1000 + 500}
        device = replace(result.device, memory_bytes=3000 * 1000 + 999)
        return replace(result, device=device, conditions=replace(result.conditions, facts=facts))

    found = run_row(row(tmp_path, limit=2**16), telling, Notes())
    asked = [settings.batch for settings in plain.asked]
    assert found.sweep.largest == 3000 and asked[12:] == [4096, 2998, 3002, 3000, 3001, 3000]
    assert found.sweep.attempts[0].device_bytes == 1500
    assert Sweep.read(row(tmp_path).state_path) == found.sweep


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(KeyboardInterrupt):
        run_row(row(tmp_path), Machine(64, stop_at=16), notes)
    assert notes.notes == ["batches done: 1, 2, 4, 8; the same command goes on from there"]
    assert not Sweep.read(row(tmp_path).state_path).complete
    machine, notes = Machine(64), Notes()
    found = run_row(row(tmp_path), machine, notes)
    assert [settings.batch for settings in machine.asked] == [16, 32, 64]
    assert notes.notes == ["continuing an interrupted sweep: 4 attempts were made already (batch 1, 2, 4, 8)"]
    assert [run.result.settings.batch for run in found.runs] == [1, 2, 4, 8, 16, 32, 64]


def test_a_ladder_takes_over_what_was_measured_before(tmp_path: Path) -> None:
    run_row(row(tmp_path, 8), Machine(22), Notes())
    given = row(tmp_path)
    known = (Attempt(8, "measured", images_per_s=100.0, file=given.result_path(8).name),)
    given = replace(given, smallest=8, sweep=replace(given.sweep, attempts=known, within=0.2))
    machine = Machine(22)
    found = run_row(given, machine, Notes())
    assert [settings.batch for settings in machine.asked] == [16, 32, 24, 20, 20]
    assert [run.result.settings.batch for run in found.runs] == [8, 16, 20]
    assert found.sweep.stopped is not None
    assert found.sweep.stopped.startswith("batch 20 is the largest that was seen to run; 24 failed")
    assert "(looked for within 20 %; " in found.sweep.stopped
    given.result_path(8).unlink()
    machine = Machine(22)
    run_row(given, machine, Notes())
    assert [settings.batch for settings in machine.asked] == [8, 16, 32, 24, 20, 20], "its file is gone"


@pytest.mark.parametrize("change", ["key", "damage", "gone", "force", "complete"])
def test_what_is_not_continued(change: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_row(row(tmp_path), Machine(64, stop_at=4), Notes())
    wanted, path = row(tmp_path), row(tmp_path).state_path
    if change == "key":
        wanted = replace(wanted, sweep=replace(wanted.sweep, key="another"))
    elif change == "damage":
        path.write_text("{")
    elif change == "gone":
        wanted.result_path(1).unlink()
    elif change == "force":
        wanted = replace(wanted, resume=False)
    else:
        replace(Sweep.read(path), complete=True).write(path)
    machine, notes = Machine(64), Notes()
    found = run_row(wanted, machine, notes)
    assert len(found.runs) == 7
    # A result file that is gone is measured again; of anything else the whole sweep is.
    expected = {1, 4, 8, 16, 32, 64} if change == "gone" else {1, 2, 4, 8, 16, 32, 64}
    assert {settings.batch for settings in machine.asked} == expected
    assert any("written anew" in note for note in notes.notes) == (change == "damage")


def test_a_named_batch_that_fails_is_a_failure_and_the_others_are_measured(tmp_path: Path) -> None:
    found = run_row(row(tmp_path, 1, 100, 2), Machine(64), Notes())
    assert [run.result.settings.batch for run in found.runs] == [1, 2]
    assert [(failure.what, failure.error) for failure in found.failures] == [
        ("fp16 on cuda:0, batch 100, compute", MEMORY)
    ]
    assert found.sweep.first_failure is not None and found.sweep.first_failure.reason == "device_memory"


def test_a_ladder_on_which_nothing_runs_is_a_failure(tmp_path: Path) -> None:
    found = run_row(row(tmp_path), Machine(0), Notes())
    assert found.runs == () and found.failures[0].error is MEMORY


def test_refusals_end_the_row(tmp_path: Path) -> None:
    for refusal in (UsageError("no such mode", hint="h"), PlanError("made elsewhere", hint="h")):
        with pytest.raises(type(refusal)):
            run_row(row(tmp_path, 1), Machine(0, refusal), Notes())


def big(elements: int, needed: int) -> Callable[[int], Prepared]:
    class Sized(Prepared):
        def footprint(self, batch: int) -> Footprint | None:
            return Footprint(0, needed * batch, "conv1", elements * batch)

    given = prepared(1)
    return lambda batch: Sized(given.subject, given.artifact, given.shapes_at)


def test_an_unexplained_failure_with_a_huge_tensor_is_the_element_limit(tmp_path: Path) -> None:
    vague = RunError("enqueue returned False.", hint="h")
    found = run_row(row(tmp_path, prepare=big(2**28, 1)), Machine(7, vague), Notes())
    wall = found.sweep.first_failure
    assert wall is not None and (wall.batch, wall.reason) == (8, "element_limit")
    assert "conv1 has 2,147,483,648 elements there, 2³¹ or more" in wall.text
    found = run_row(row(tmp_path, prepare=big(2**20, 1), resume=False), Machine(7, vague), Notes())
    assert found.sweep.first_failure is not None and found.sweep.first_failure.reason == "other"


def test_a_batch_that_cannot_fit_is_not_tried(tmp_path: Path) -> None:
    """On a GPU up to half as much again as is free is tried; on the host four fifths of it."""
    for kind, last, reason in (("cuda", 24, "device_memory"), ("cpu", 12, "host_memory")):
        machine = Machine(64)
        found = run_row(row(tmp_path / kind, prepare=big(1, GIB // 16), kind=kind), machine, Notes())
        assert found.sweep.largest == last == max(settings.batch for settings in machine.asked)
        wall = found.sweep.first_failure
        assert wall is not None and (wall.outcome, wall.reason) == ("skipped", reason)
        assert found.sweep.stopped is not None and f"{last + 1} was not tried" in found.sweep.stopped


def test_a_batch_that_would_take_too_long_is_not_tried(tmp_path: Path) -> None:
    # 100 images/s and 10 + 3 iterations: batch 32 takes 4.2 s, batch 64 8.3 s.
    found = run_row(row(tmp_path, kind="cpu", limit=256, seconds=5.0), Machine(256), Notes())
    assert found.sweep.largest == 32
    assert found.sweep.stopped is not None
    assert "64 was not tried: one attempt would take longer than it may (13 iterations would take about 8.3 s" in (
        found.sweep.stopped
    )


def test_the_time_of_an_attempt_leaves_room_for_what_was_asked() -> None:
    settings = BenchSettings("compute", 1)
    assert attempt_seconds(None, settings, "cpu") == 90
    assert attempt_seconds(None, replace(settings, max_duration_s=1.0), "cpu") == 60
    assert attempt_seconds(None, settings, "cuda") == 600
    assert attempt_seconds(7.0, settings, "cuda") == 7


def other_run(folder: Path) -> None:
    """Batch 1 with another seed, by somebody else, into the same file."""
    other = row(folder, 1)
    changed = replace(other, settings=BenchSettings("compute", 0, seed=9), sweep=replace(other.sweep, key="other"))
    run_row(changed, Machine(64), Notes())


def test_what_others_wrote_into_the_folder_is_not_taken_for_this_sweeps(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_row(row(tmp_path, 1, 2, 4), Machine(64, stop_at=4), Notes())
    other_run(tmp_path)
    machine, notes = Machine(64), Notes()
    found = run_row(row(tmp_path, 1, 2, 4), machine, notes)
    assert [settings.batch for settings in machine.asked] == [1, 4], "batch 1's file is another measurement's"
    assert notes.notes[0].endswith("1 attempts were made already (batch 2)")
    assert {run.result.settings.seed for run in found.runs} == {0}


def test_two_at_once_in_one_folder_keep_their_own_numbers(tmp_path: Path) -> None:
    machine, notes = Machine(64), Notes()

    def disturbed(made: Prepared, target: Target, settings: BenchSettings, seconds: float | None) -> BenchResult:
        if settings.batch == 2:
            other_run(tmp_path)
        return machine(made, target, settings, seconds)

    found = run_row(row(tmp_path, 1, 2), disturbed, notes)
    assert [run.result.settings.seed for run in found.runs] == [0, 0]
    (note,) = [note for note in notes.notes if "another measurement" in note]
    assert note.startswith("net.fp16.null.cuda0.b1.compute.bench.json holds another measurement by now")


def test_files_for_other_tools_are_made_of_resumed_attempts_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_row(row(tmp_path, 1, 2, 4), Machine(64, stop_at=4), Notes())
    told: list[int] = []
    later = row(tmp_path, 1, 2, 4, after=lambda made, target, result: told.append(result.settings.batch))
    run_row(later, Machine(64), Notes())
    assert told == [1, 2, 4]


def test_an_interrupted_sweep_of_other_batches_is_replaced_aloud(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_row(row(tmp_path, 1, 2, 4), Machine(64, stop_at=4), Notes())
    longer, notes = row(tmp_path, 1, 2, 4, 8), Notes()
    run_row(replace(longer, sweep=replace(longer.sweep, key="other")), Machine(64), notes)
    assert "an interrupted sweep of other batch sizes or settings (batch 1, 2 done), is replaced" in notes.notes[0]


def test_an_attempt_that_is_cut_off_in_time_is_tried(tmp_path: Path) -> None:
    # As above, but a measurement ends after 0.1 s: batch 256 takes four iterations, 10.2 s.
    short = BenchSettings("compute", 0, duration_s=0.1, max_duration_s=0.1)
    found = run_row(row(tmp_path, kind="cpu", limit=256, seconds=11.0, settings=short), Machine(256), Notes())
    assert found.sweep.largest == 256
