"""Several devices at once: the null family's scripted ones, ONNX Runtime's, ranks over TCP, and what goes wrong."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.pipeline.test_bench_rows import Notes
from tests.ranks.test_meeting import together
from trtkit.artifacts.files import read_json
from trtkit.artifacts.scale import ScaleResult
from trtkit.backends.null_timed import VARIABLE
from trtkit.errors import PlanError, RunError, TrtkitError, UsageError
from trtkit.pipeline import ConvertRequest, convert
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.scaling import Scaled, ScalingRequest, is_scaling, scale
from trtkit.ranks import Meeting, Place
from trtkit.stages.export import SourceRequest

QUICK: dict[str, object] = {"warmup_s": 0.01, "duration_s": 0.3, "max_duration_s": 1.0, "buffers": 2, "depth": 1}


@pytest.fixture(autouse=True)
def _quiet(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    # Eight images in 16 ms, 500 images/s, which a busy machine can keep too: nothing is computed.
    monkeypatch.setenv(VARIABLE, json.dumps({"compute_ms": 0.0, "image_ms": 2.0}))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of the null family, which no test changes."""
    folder = tmp_path_factory.mktemp("plan")
    onnx.save(conv_net(), folder / "net.onnx")
    asked = ConvertRequest(
        SourceRequest(str(folder / "net.onnx")), family="null", batch="1:8:64", output=folder / "p", validate=False
    )
    return convert(asked).plan


def asked(source: Path, folder: Path, devices: str | None, **changes: Any) -> ScalingRequest:
    settings = {**QUICK, **changes.pop("settings", {})}
    more = {name: changes.pop(name) for name in ("plans", "alone", "ranks_per_device") if name in changes}
    bench = BenchmarkRequest(
        SourceRequest(str(source)), settings=settings, output=folder / "out", devices=devices, batches=(8,), **changes
    )
    return ScalingRequest(bench, **more)


def test_devices_share_one_window_and_each_is_measured_alone(plan: Path, tmp_path: Path) -> None:
    (found,) = scale(asked(plan, tmp_path, "cpu*3"))
    result = found.result
    assert [share.device for share in result.shares] == ["cpu:0/3", "cpu:1/3", "cpu:2/3"]
    windows = {
        (share.phases["together"].start_monotonic_s, share.phases["together"].seconds) for share in result.shares
    }
    assert len(windows) == 1 and windows.pop()[1] == pytest.approx(0.3)
    for share in result.shares:
        assert set(share.phases) == {"alone-before", "together", "alone-after"}
        assert share.together_images_per_s == pytest.approx(500, rel=0.2)
    assert result.total_images_per_s == pytest.approx(1500, rel=0.2)
    assert result.efficiency == pytest.approx(1, abs=0.2)
    alone = sorted(
        share.phases[name].start_monotonic_s for share in result.shares for name in ("alone-before", "alone-after")
    )
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(alone))
    assert found.file.name == "net.fp32.null-0.1.b8.compute.scale.json"
    saved = ScaleResult.from_json(read_json(found.file))
    assert saved.total_images_per_s == pytest.approx(result.total_images_per_s)
    assert [share.device for share in saved.shares] == [share.device for share in result.shares]


def test_without_the_alone_windows_there_is_no_efficiency(plan: Path, tmp_path: Path) -> None:
    (found,) = scale(asked(plan, tmp_path, "cpu*2", alone=False))
    assert found.result.efficiency is None
    assert found.result.total_images_per_s == pytest.approx(1000, rel=0.2)


@pytest.mark.slow
def test_real_computation_on_two_parts_of_the_cpu(tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    (found,) = scale(asked(tmp_path / "net.onnx", tmp_path, "cpu*2"))
    result = found.result
    assert result.problem is None
    assert all(share.phases["together"].result.conditions.check["matches"] for share in result.shares)  # type: ignore[index]
    assert result.efficiency is not None and 0.2 < result.efficiency < 2
    cores = [share.phases["together"].result.settings.affinity for share in result.shares]
    assert all(len(own) >= 1 for own in cores)


def test_a_device_may_have_a_plan_of_its_own(plan: Path, tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "other.onnx")
    other = convert(
        ConvertRequest(
            SourceRequest(str(tmp_path / "other.onnx")), family="null", batch="8:8:8", output=tmp_path, validate=False
        )
    ).plan
    (found,) = scale(asked(plan, tmp_path, "cpu*2", plans={"cpu:1/2": other}))
    assert [share.phases["together"].result.subject.file for share in found.result.shares] == [plan.name, other.name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plans": {"cuda:7": Path("x.plan")}}, "--plan names cuda:7; what is measured is cpu:0/2, cpu:1/2"),
        ({"ladder": True, "batches": ()}, "--batch auto looks for the largest batch of one device"),
    ],
)
def test_what_makes_no_sense_together_is_refused(
    plan: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    bench = {name: value for name, value in changes.items() if name != "plans"}
    request = asked(plan, tmp_path, "cpu*2")
    request = ScalingRequest(
        BenchmarkRequest(SourceRequest(str(plan)), devices="cpu*2", output=tmp_path, **{"batches": (8,), **bench}),
        changes.get("plans", {}),
    )
    with pytest.raises(UsageError, match=said):
        scale(request)


@pytest.mark.parametrize(
    ("devices", "size", "expected"),
    [
        (None, 1, False),
        ("cpu", 1, False),
        ("cuda:1", 1, False),
        ("0,1", 1, True),
        ("all", 1, True),
        ("cpu*2", 1, True),
        ("cpu:0/2", 1, True),
        ("cpu", 2, True),
    ],
)
def test_when_a_command_is_about_several_devices(devices: str | None, size: int, expected: bool) -> None:
    assert is_scaling(devices, Place(size=size)) is expected


def test_a_plan_that_does_not_load_on_one_device_ends_all_and_names_it(plan: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.plan"
    bad.write_bytes(b"trtkit-null-plan\n{")
    started = time.monotonic()
    with pytest.raises(RunError, match=r"The scaling run ended early: cpu:1/2: .*Error") as caught:
        scale(asked(plan, tmp_path, "cpu*2", plans={"cpu:1/2": bad}))
    assert time.monotonic() - started < 10
    assert "until then" not in caught.value.message, "nothing was measured yet"
    assert not list((tmp_path / "out").iterdir())


def _killing(what: Callable[[], None], when: str) -> Notes:
    """A listener that does something half a second into a stage."""

    class Killing(Notes):
        def stage(self, title: str) -> None:
            super().stage(title)
            if title.startswith(when):
                threading.Timer(0.5, what).start()

    return Killing()


def children() -> list[int]:
    """Processes of workers that this process started."""
    out = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in out.splitlines() if "trtkit.worker.child" in line]


@pytest.mark.skipif(sys.platform == "win32", reason="needs ps and SIGKILL")
def test_a_worker_that_is_killed_in_the_window_ends_it_and_the_rest_is_kept(plan: Path, tmp_path: Path) -> None:
    listener = _killing(lambda: os.kill(max(children()), signal.SIGKILL), "Measuring together")
    started = time.monotonic()
    with pytest.raises(RunError, match=r"cpu:1/2: .*killed by SIGKILL") as caught:
        scale(
            asked(plan, tmp_path, "cpu*2", alone=False, settings={"duration_s": 8.0, "max_duration_s": 9.0}), listener
        )
    assert time.monotonic() - started < 8, "the window ended before its time"
    file = next((tmp_path / "out").glob("*.scale.json"))
    assert str(file) in caught.value.message
    kept = ScaleResult.from_json(read_json(file))
    assert kept.problem is not None and not kept.valid
    assert 100 < (kept.shares[0].together_images_per_s or 0) < 600, "500 on a machine that has nothing else to do"
    assert kept.shares[1].phases == {} and kept.shares[1].problem is not None
    assert kept.total_images_per_s is None
    assert children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads the state of a process from /proc")
@pytest.mark.parametrize("when", ["Loading", "Measuring together"])
def test_a_worker_that_is_stopped_is_given_up_in_seconds(when: str, plan: Path, tmp_path: Path) -> None:
    def stop() -> None:
        os.kill(max(children()), signal.SIGSTOP)

    class Stopping(Notes):
        def stage(self, title: str) -> None:
            super().stage(title)
            if title.startswith(when):
                threading.Timer(0.05, stop).start()

    started = time.monotonic()
    with pytest.raises(RunError, match=r"was stopped \(SIGSTOP\) while"):
        scale(
            asked(plan, tmp_path, "cpu*2", alone=False, settings={"duration_s": 20.0, "max_duration_s": 21.0}),
            Stopping(),
        )
    assert time.monotonic() - started < 14 and children() == []


def ranks(size: int, plan: Path, folder: Path, devices: str | None, **changes: Any) -> list[Any]:
    """The same request on every rank of a meeting; each rank's results, or its error."""

    def job(meeting: Meeting) -> Any:
        place = Place(meeting.rank, size, launcher="rendezvous", host="here")
        try:
            return scale(asked(plan, folder, devices, **changes), meeting=meeting, place=place)
        except (RunError, UsageError) as error:
            return (type(error), error.message)

    return together(size, job)


def test_ranks_measure_together_and_rank_0_has_the_result(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtkit.pipeline.scale_run.PACE_S", 1.0)  # shorter than the window: who waits for it moves
    boots = iter(["here", "there"])
    monkeypatch.setattr("trtkit.ranks.clock.identity", lambda: next(boots))
    window = {"duration_s": 1.8, "max_duration_s": 2.0}
    first, second = ranks(2, plan, tmp_path, "cpu", alone=False, settings=window)
    (found,) = first
    assert isinstance(found, Scaled) and second == ()
    assert (found.result.ranks, found.result.launcher) == (2, "rendezvous")
    assert [share.rank for share in found.result.shares] == [0, 1]
    assert [share.device for share in found.result.shares] == ["cpu:0/2", "cpu:1/2"]
    assert found.result.total_images_per_s == pytest.approx(1000, rel=0.2)
    # Two clocks by name, which are one in truth.
    assert found.result.clock_drift_s is not None and found.result.clock_drift_error_s > 0
    assert abs(found.result.clock_drift_s) <= found.result.clock_drift_error_s


def test_ranks_without_devices_look_for_gpus_once_each(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def none() -> int:
        looks.append(threading.get_ident())
        return 0

    monkeypatch.setattr("trtkit.pipeline.scaling._gpus", none)
    first, _ = ranks(2, plan, tmp_path, None, alone=False)
    assert [share.device for share in first[0].result.shares] == ["cpu:0/2", "cpu:1/2"]
    assert len(looks) == len(set(looks)) == 2, "a look starts a process"


def test_more_ranks_than_cores_are_refused_on_every_rank(plan: Path, tmp_path: Path) -> None:
    size = len(os.sched_getaffinity(0)) + 1
    for kind, message in ranks(size, plan, tmp_path, "cpu"):
        assert kind is UsageError
        assert f"{size} ranks on {size - 1} cores" in message


def test_one_rank_that_cannot_prepare_ends_the_others_with_its_reason(plan: Path, tmp_path: Path) -> None:
    def job(meeting: Meeting) -> Any:
        source = plan if meeting.rank == 0 else tmp_path / "missing.plan"
        place = Place(meeting.rank, 2, launcher="rendezvous", host="here")
        try:
            return scale(asked(source, tmp_path, "cpu"), meeting=meeting, place=place)
        except TrtkitError as error:
            return (type(error), error.message)

    first, second = together(2, job)
    assert first[0] is PlanError and "rank 1 on here: " in first[1] and "missing.plan" in first[1]
    assert "missing.plan" in second[1]


def test_16_devices_start_in_time_and_are_all_counted(plan: Path, tmp_path: Path) -> None:
    times: dict[str, float] = {}

    class Clock(Notes):
        def stage(self, title: str) -> None:
            times.setdefault(title, time.monotonic())

    (found,) = scale(asked(plan, tmp_path, "cpu*16", alone=False), Clock())
    assert len(found.result.shares) == 16
    assert all(share.together_images_per_s for share in found.result.shares)
    loading = next(value for title, value in times.items() if title.startswith("Loading"))
    measuring = next(value for title, value in times.items() if title.startswith("Measuring together"))
    assert measuring - loading < 10  # 64 of them, on a machine that does nothing else: tests/perf/scale.py
