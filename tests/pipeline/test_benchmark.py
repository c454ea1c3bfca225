"""From a source to results, through real workers: ONNX Runtime on the CPU, and the null family as the script says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.pipeline.test_bench_rows import Notes
from tests.stages.test_bench_exports import PROFILE, TIMES
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import sha256_file
from trtkit.artifacts.plan import manifest_path
from trtkit.artifacts.sweep import Attempt, Sweep
from trtkit.backends.null_timed import VARIABLE
from trtkit.errors import PlanError, RunError, UsageError
from trtkit.pipeline import ConvertRequest, convert
from trtkit.pipeline.bench_exporting import BenchExports
from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult
from trtkit.pipeline.benchmark import bench
from trtkit.stages.export import SourceRequest

QUICK: dict[str, object] = {"warmup_s": 0.01, "duration_s": 0.05, "max_duration_s": 0.1, "buffers": 2}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of the null family, which tests copy before they touch it."""
    folder = tmp_path_factory.mktemp("made")
    onnx.save(conv_net(), folder / "net.onnx")
    asked = ConvertRequest(
        SourceRequest(str(folder / "net.onnx")), family="null", batch="1:8:64", output=folder / "p", validate=False
    )
    return convert(asked).plan


@pytest.fixture
def plan(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made.parent, tmp_path / "p")
    return tmp_path / "p" / made.name


def run(source: Path, folder: Path, listener: Notes | None = None, **changes: Any) -> BenchmarkResult:
    settings = {**QUICK, **changes.pop("settings", {})}
    exports = changes.pop("exports", None)
    asked = BenchmarkRequest(SourceRequest(str(source)), settings=settings, output=folder / "out", **changes)
    return bench(asked, listener or Notes(), exports=exports)


def only(found: BenchmarkResult) -> BenchResult:
    assert len(found.runs) == 1
    return found.runs[0].result


def test_an_onnx_file_is_run_as_it_is(net: Path, tmp_path: Path) -> None:
    found = run(net, tmp_path, devices="cpu", batches=(4,), command=("trtkit", "bench"))
    result = only(found)
    assert (result.subject.family, result.subject.precision, result.subject.observed) == ("onnxruntime", "fp32", "fp32")
    assert result.subject.sha256 == sha256_file(net) == result.subject.model_sha256
    assert result.subject.macs_per_image == 4 * 3 * 9 * 64
    assert result.settings.shapes == {"x": (4, 3, 8, 8)} and result.settings.profile is None
    assert result.conditions.check is not None and result.conditions.check["matches"] is True
    assert result.command == ("trtkit", "bench")
    assert found.runs[0].file == tmp_path / "out" / "net.fp32.onnxruntime.cpu.b4.compute.bench.json"
    saved = BenchResult.from_json(json.loads(found.runs[0].file.read_text()))
    assert (saved.subject, len(saved.timeline), saved.verdict) == (result.subject, len(result.timeline), result.verdict)
    document = json.loads(json.dumps(found.to_json()))
    assert "timeline" not in document["runs"][0] and document["runs"][0]["summary"]["count"] == len(result.timeline)


def test_a_spot_check_is_made_once(net: Path, tmp_path: Path) -> None:
    first, second = (only(run(net, tmp_path, devices="cpu", batches=(batch,))) for batch in (1, 2))
    assert first.conditions.check is not None and second.conditions.check is not None
    assert "taken_over" not in first.conditions.check
    assert second.conditions.check["taken_over"] is True
    assert second.conditions.check["relative_l2"] == first.conditions.check["relative_l2"]
    forced = only(run(net, tmp_path, devices="cpu", batches=(2,), force=True))
    assert forced.conditions.check is not None and "taken_over" not in forced.conditions.check
    uncached = only(run(net, tmp_path, devices="cpu", batches=(2,), cache=False))
    assert uncached.conditions.check is not None and "taken_over" not in uncached.conditions.check


def test_other_precisions_are_converted_into_the_cache(net: Path, tmp_path: Path) -> None:
    found = run(net, tmp_path, devices="cpu", precisions=("fp32", "fp16"), batches=(2,))
    assert [run.result.subject.precision for run in found.runs] == ["fp32", "fp16"]
    half = found.runs[1].result
    assert half.subject.model_sha256 == found.runs[0].result.subject.sha256 != half.subject.sha256
    assert half.conditions.check is not None
    assert 1e-6 < half.conditions.check["relative_l2"] < 1e-2
    assert found.sweeps == ()
    kept = list(Path(os.environ["XDG_CACHE_HOME"], "trtkit", "plans").glob("net.fp16.onnxruntime-*/*.onnxruntime.onnx"))
    assert len(kept) == 1
    written = kept[0].stat().st_mtime_ns
    run(net, tmp_path, devices="cpu", precisions=("fp16",), batches=(3,))
    assert kept[0].stat().st_mtime_ns == written


def test_a_plan_is_benchmarked_as_it_is(plan: Path, tmp_path: Path) -> None:
    result = only(run(plan, tmp_path))
    assert (result.subject.family, result.subject.file, result.settings.batch) == ("null", plan.name, 8)
    assert result.settings.profile == "x 1x3x8x8:8x3x8x8:64x3x8x8"
    assert [finding.id for finding in result.verdict.reasons] == ["wrong-output"], (
        "zeros are not what the model computes"
    )


def test_a_plan_without_its_manifest_says_what_is_unknown(plan: Path, tmp_path: Path) -> None:
    manifest_path(plan).unlink()
    notes = Notes()
    result = only(run(plan, tmp_path, notes, batches=(4,)))
    assert result.subject.precision == "unknown" and result.subject.macs_per_image is None
    assert result.settings.shapes == {"x": (4, 3, 8, 8)}
    assert any(
        "outputs will not be checked" in note and "precision and source are unknown" in note for note in notes.notes
    )
    assert result.conditions.check is not None and result.conditions.check["matches"] is None


def test_an_artifact_of_onnx_runtime_keeps_its_precision(net: Path, tmp_path: Path) -> None:
    made = convert(
        ConvertRequest(SourceRequest(str(net)), precision="fp16", family="onnxruntime", output=tmp_path / "p")
    )
    result = only(run(made.plan, tmp_path, devices="cpu", batches=(200,)))
    assert (result.subject.precision, result.settings.batch) == ("fp16", 200)


def test_images_as_bytes(net: Path, tmp_path: Path) -> None:
    result = only(run(net, tmp_path, devices="cpu", batches=(2,), settings={"input_dtype": "uint8"}))
    assert result.conditions.facts["input_bytes"] == 2 * 3 * 8 * 8
    assert result.conditions.check is not None and result.conditions.check["matches"] is True


def test_own_data(net: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "photos.npy", np.ones((3, 3, 8, 8), np.float32))
    result = only(run(net, tmp_path, devices="cpu", batches=(2,), data=tmp_path / "photos.npy"))
    assert result.settings.data == "photos.npy"


@pytest.mark.slow
def test_exports_beside_the_results(net: Path, tmp_path: Path) -> None:
    exports = BenchExports(tmp_path / "t.csv", tmp_path / "times.json", tmp_path / "profile.json")
    found = run(net, tmp_path, devices="cpu", batches=(2,), exports=exports)
    document = json.loads((tmp_path / "times.json").read_text())
    jsonschema.validate(document, TIMES)
    assert len(document) == len(only(found).timeline)
    profile = json.loads((tmp_path / "profile.json").read_text())
    jsonschema.validate(profile, PROFILE)
    assert profile[0]["count"] == 20 and len(profile) >= 3
    assert "flatten" in [entry["name"] for entry in profile[1:]], "a node that nothing is fused with"
    assert sum(entry["percentage"] for entry in profile[1:]) == pytest.approx(100, abs=0.1)
    assert (tmp_path / "t.csv").read_text().count("\n") == 2
    several = run(net, tmp_path, devices="cpu", batches=(1, 2), exports=BenchExports(times=tmp_path / "more.json"))
    assert len(several.runs) == 2
    assert {path.name for path in tmp_path.glob("more*")} == {
        "more.fp32.cpu.b1.compute.json",
        "more.fp32.cpu.b2.compute.json",
    }


def test_what_a_family_cannot_show_is_refused_before_anything_is_measured(
    net: Path, plan: Path, tmp_path: Path
) -> None:
    for source, exports, option in (
        (net, BenchExports(layer_info=tmp_path / "l.json"), "--export-layer-info"),
        (plan, BenchExports(profile=tmp_path / "p.json"), "--export-profile"),
    ):
        with pytest.raises(UsageError, match=f"{option} cannot be honoured"):
            run(source, tmp_path, devices="cpu", exports=exports)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": (65,)}, "Batch 65 is not possible, 1 to 64 is: the optimization profile"),
        ({"precisions": ("fp16",)}, r"--precision fp16: .* was built in fp32"),
        ({"family": "onnxruntime"}, "--family onnxruntime: .* is of null"),
        ({"settings": {"input_dtype": "uint8"}}, "--input-dtype: a plan's inputs are fixed"),
        ({"modes": ("overlapped",)}, "There is no mode overlapped on the cpu"),
        ({"settings": {"aux_streams": 2}}, "--aux-streams is about how a GPU is driven"),
        ({"settings": {"graph": False}}, "--no-graph is about how a GPU is driven"),
        ({"ladder": True, "batches": (1,)}, "--batch auto looks for"),
        ({"sweep_limit": 8}, "--sweep-limit 8 is the largest batch that --batch auto tries"),
        ({"sweep_within": 0.05}, "--sweep-within 5 is how closely --batch auto looks"),
        ({"ladder": True, "sweep_within": -0.01}, "--sweep-within -1 is not from 0 %"),
        ({"ladder": True, "sweep_within": 1.0}, "--sweep-within 100 is not from 0 %"),
        ({"known": (Attempt(1, "measured"),)}, "what --batch auto goes on from"),
        ({"settings": {"max_duration_s": 0.01}}, "--max-duration 0.01 s is shorter than --duration"),
        ({"settings": {"mode": "compute"}}, "there is no setting 'mode'"),
        ({"precisions": ("fp64",)}, "no precision 'fp64'; allowed: fp32"),
        ({"devices": "cpu,cpu"}, "cpu is named twice"),
        ({"profile": "some"}, "no profile 'some'; allowed: each, shared"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str, plan: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run(plan, tmp_path, **changes)
    assert not (tmp_path / "out").exists()


def test_precisions_that_bench_cannot_make(net: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--precision int8 needs calibration") as caught:
        run(net, tmp_path, devices="cpu", precisions=("int8",))
    assert "trtkit convert --precision int8" in caught.value.hint
    with pytest.raises(UsageError, match="no TF32 arithmetic on a CPU"):
        run(net, tmp_path, devices="cpu", precisions=("tf32",))


def test_a_damaged_plan(plan: Path, tmp_path: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-3])
    with pytest.raises(PlanError, match="SHA-256 or size differs"):
        run(plan, tmp_path)


def test_the_only_failure_is_the_error(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({"fail_from_batch": 1}))
    with pytest.raises(RunError, match="out of memory"):
        run(plan, tmp_path, batches=(4,))


@pytest.mark.parametrize("reason", ["workspace", "host_memory"])  # all of them: tests/measurement/test_failure.py
def test_the_first_failure_of_a_ladder_is_told_apart(
    reason: str, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({"fail_from_batch": 3, "fail_as": reason}))
    (sweep,) = run(plan, tmp_path, ladder=True).sweeps
    assert sweep.largest == 2
    assert sweep.first_failure is not None and (sweep.first_failure.batch, sweep.first_failure.reason) == (3, reason)


def test_a_ladder_goes_on_from_what_is_known(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listed,) = run(plan, tmp_path, batches=(4,)).runs
    monkeypatch.setenv(VARIABLE, json.dumps({"fail_from_batch": 7}))
    known = (Attempt(4, "measured", file=listed.file.name), Attempt(16, "failed", "device_memory", "out of memory"))
    found = run(plan, tmp_path, ladder=True, known=known, sweep_within=0.25)
    (sweep,) = found.sweeps
    assert [attempt.batch for attempt in sweep.attempts] == [4, 16, 10, 7, 5, 6, 6]
    assert [run.result.settings.batch for run in found.runs] == [4, 6] and sweep.within == 0.25
    assert found.runs[0].result.created == listed.result.created


@pytest.mark.slow
def test_a_ladder_ends_where_the_profile_does_and_where_an_attempt_hangs(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweep,) = run(plan, tmp_path, ladder=True).sweeps
    assert sweep.largest == 64 and sweep.profile == "plan"
    assert sweep.stopped == (
        "batch 64 is the largest that was to be tried (the optimization profile of the plan ends there)"
    )
    monkeypatch.setenv(VARIABLE, json.dumps({"hang_from_batch": 4}))
    (sweep,) = run(plan, tmp_path, ladder=True, attempt_seconds=2.0, force=True).sweeps
    assert sweep.largest == 2 and sweep.first_failure is not None
    assert (sweep.first_failure.batch, sweep.first_failure.reason) == (4, "timeout")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_loses_at_most_the_attempt_in_flight(plan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = [
        "--batch",
        "auto",
        "--sweep-limit",
        "16",
        "--duration",
        "0.3",
        "--max-duration",
        "0.4",
        "-o",
        str(folder),
    ]
    command = [sys.executable, "-m", "trtkit", "bench", str(plan), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ})
    state = folder / "net.fp32.null-0.1.cpu.compute.sweep.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(folder.glob("*.b[124].*.bench.json"))) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    killed = Sweep.read(state)
    done = [attempt.batch for attempt in killed.attempts]
    files = {path.name for path in folder.glob("*.bench.json")}
    assert not killed.complete and done in ([1, 2], [1, 2, 4])
    written = {name: (folder / name).stat().st_mtime_ns for name in files}
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 0, again.stderr
    told = " ".join(again.stderr.split())
    assert f"continuing an interrupted sweep: {len(done)} attempts were made already" in told
    assert [run["settings"]["batch"] for run in json.loads(again.stdout)["runs"]] == [1, 2, 4, 8, 16]
    kept = [f"net.fp32.null-0.1.cpu.b{batch}.compute.bench.json" for batch in done]
    assert [(folder / name).stat().st_mtime_ns for name in kept] == [written[name] for name in kept]
    assert Sweep.read(state).complete


def _link(link: Path, target: str) -> Path:
    link.symlink_to(target)
    return link


@pytest.mark.parametrize(
    ("exports", "words"),
    [
        (lambda folder: {"csv": folder / "net.onnx"}, "--csv .*net.onnx would be written over what is measured"),
        (lambda folder: {"times": folder / "x.npy"}, "--export-times .*x.npy would be written over what is measured"),
        (
            lambda folder: {"csv": folder / "e", "profile": folder / "e"},
            "--export-profile .*e would be written over the file of --csv",
        ),
        (lambda folder: {"csv": folder}, "--csv .* is no regular file"),
        (
            lambda folder: {"times": folder / "e", "csv": _link(folder / "link", "net.onnx")},
            "--csv .*link would be written over what is measured",
        ),
        (lambda folder: {"csv": _link(folder / "link", "/proc/self/fd/1")}, "--csv .*link is no regular file"),
    ],
)
def test_files_for_other_tools_replace_nothing_that_is_read(
    exports: Any, words: str, net: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8, 8), np.float32))
    before = sha256_file(net)
    with pytest.raises(UsageError, match=words):
        run(net, tmp_path, devices="cpu", data=tmp_path / "x.npy", exports=BenchExports(**exports(tmp_path)))
    assert sha256_file(net) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {"max_duration_s": float("inf")}}, "max_duration_s is inf"),
        ({"batches": (10**20,)}, "No batch is larger than 2,147,483,647"),
    ],
)
def test_numbers_without_end_are_refused(changes: dict[str, Any], words: str, net: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        run(net, tmp_path, devices="cpu", **changes)


def test_a_check_that_failed_is_made_again(net: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((2, 3, 8, 8), np.nan, np.float32))
    wrong = only(run(net, tmp_path, devices="cpu", batches=(2,), data=tmp_path / "nan.npy"))
    assert not wrong.verdict.valid
    right = only(run(net, tmp_path, devices="cpu", batches=(2,)))
    check = right.conditions.check or {}
    assert right.verdict.valid and "taken_over" not in check and check["matches"] is True
    again = only(run(net, tmp_path, devices="cpu", batches=(1,)))
    assert (again.conditions.check or {})["taken_over"] is True
