"""What ``bench`` prints of several devices, its files, and who speaks among ranks."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import onnx
import pytest
from rich.console import Console

from tests.artifacts.test_scale import phase, share
from tests.contract.test_families import conv_net
from tests.measurement.scripted import clean, timeline
from tests.ranks.test_meeting import free_port
from trtkit.artifacts.files import read_json
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.artifacts.scale import TOGETHER, Phase, ScaleResult, Share
from trtkit.backends.null_timed import VARIABLE
from trtkit.cli.main import main
from trtkit.cli.scaling import _leave, _plans
from trtkit.cli.scaling_table import show
from trtkit.errors import UsageError
from trtkit.pipeline import ConvertRequest, convert
from trtkit.pipeline.scale_cut import CutShort
from trtkit.pipeline.scaling import Scaled
from trtkit.stages.export import SourceRequest

FILE = Path("results/googlenet.fp16.tensorrt-rtx-1.6.1.b1024.compute-graph.scale.json")


def shown(result: ScaleResult, width: int = 80) -> list[str]:
    screen = io.StringIO()
    show(Scaled(result, FILE), Console(file=screen, width=width, color_system=None))
    return screen.getvalue().splitlines()


def powered(device: str, ms: float, **more: Any) -> Share:
    result = clean(timeline=timeline([ms] * 400), conditions={"power_w": (300.0, 320.0)})
    return replace(
        share(device, ms, 10.0, **more),
        phases={**share(device, ms, 10.0).phases, TOGETHER: Phase(TOGETHER, 0.5, 2.0, result)},
    )


def test_the_table_holds_every_cell_at_80_columns() -> None:
    lines = shown(ScaleResult((powered("cuda:0", 10.0), powered("cuda:1", 12.5)), launcher="mpirun", ranks=2))
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(FILE.name.removesuffix(".scale.json")) and "2 devices, 2 ranks by" in " ".join(lines[:2])
    (one, *_) = shown(ScaleResult((powered("cuda:0", 10.0),)), width=200)
    assert one.endswith("  1 device")
    text = "\n".join(lines)
    head = next(line for line in lines if line.startswith("device"))
    assert head.split() == ["device", "images/s", "alone", "efficiency", "p50", "ms", "W", "verdict"]
    assert [line.split() for line in lines if line.startswith(("cuda:", "all"))] == [
        ["cuda:0", "800", "800", "100.0%", "10.0", "310"],
        ["cuda:1", "640", "800", "80.0%", "12.5", "310"],
        ["all", "1,440", "1,600", "90.0%"],
    ]
    assert "2.00 s shared by all" in text


def test_failed_and_invalid_devices_are_told_with_their_reasons() -> None:
    bad = phase(TOGETHER, 10.0)
    reason = Verdict((Finding("throttled", "The clock fell.", "Cool it."),))
    doubted = Share("cuda:0", "H100", "node1", 0, {TOGETHER: replace(bad, result=bad.result.judged(reason))})
    lost = Share("cuda:1", "H100", "node2", 1, problem="silent for 4 s")
    lines = shown(
        ScaleResult(
            (doubted, lost), problem="x", clock_error_s=2e-4, findings=(Finding("drift", "It drifts.", "Wait."),)
        )
    )
    text = "\n".join(lines)
    assert any(line.split()[:2] == ["node1", "cuda:0"] and line.split()[-1] == "INVALID" for line in lines)
    assert any(line.split() == ["node2", "cuda:1", "failed"] for line in lines)
    assert "node2 cuda:1: silent for 4 s" in text
    assert "node1 cuda:0: The clock fell. Cool it." in text
    assert "It drifts. Wait." in text
    assert "clocks agree within 0.20 ms" in text
    moved = ScaleResult((doubted,), clock_error_s=2e-4, clock_drift_s=-3e-5)
    assert "clocks agree within 0.20 ms and drifted by 0.03 ms" in "\n".join(shown(moved, 200))


@pytest.mark.parametrize("width", [60, 100, 160])
def test_no_width_loses_a_figure(width: int) -> None:
    lines = shown(ScaleResult((powered("cuda:0", 10.0), powered("cuda:1", 12.5))), width)
    assert {"800", "640", "1,440", "90.0%"} <= {word for line in lines for word in line.split()}


def test_plans_by_device() -> None:
    assert _plans(["1=a.plan", "cpu:0/2=b.plan", "CUDA:0=c=d.plan"]) == {
        "cuda:1": Path("a.plan"),
        "cpu:0/2": Path("b.plan"),
        "cuda:0": Path("c=d.plan"),
    }


@pytest.mark.parametrize("given", [["a.plan"], ["=a.plan"], ["0="], ["0=a.plan", "cuda:0=b.plan"]])
def test_plans_that_are_not_understood(given: list[str]) -> None:
    with pytest.raises(UsageError, match="is not DEVICE=FILE, each device once"):
        _plans(given)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, json.dumps({"compute_ms": 0.0, "image_ms": 2.0}))
    onnx.save(conv_net(), tmp_path / "net.onnx")
    source = SourceRequest(str(tmp_path / "net.onnx"))
    return convert(ConvertRequest(source, family="null", batch="1:8:64", output=tmp_path / "p", validate=False)).plan


QUICK = ["--batch", "8", "--duration", "0.2", "--max-duration", "0.3", "--warmup", "0.01"]


def test_json_and_csv_say_the_same_as_the_file(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "all.csv"
    words = [
        "bench",
        str(plan),
        "--devices",
        "cpu*2",
        *QUICK,
        "-o",
        str(tmp_path / "out"),
        "--json",
        "--csv",
        str(table),
    ]
    assert main(words) == 0
    (said,) = json.loads(capsys.readouterr().out)["results"]
    saved = read_json(Path(said["file"]))
    assert said["total_images_per_s"] == saved["total_images_per_s"]
    assert [entry["device"] for entry in said["shares"]] == ["cpu:0/2", "cpu:1/2"]
    assert all("phases" not in entry for entry in said["shares"])
    rows = list(csv.DictReader(table.open()))
    assert [row["device"] for row in rows] == ["cpu:0/2", "cpu:1/2"]
    assert [float(row["images_per_s"]) for row in rows] == [s["together_images_per_s"] for s in saved["shares"]]


def test_exports_of_one_device_are_refused(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(plan), "--device", "cpu*2", "--export-times", "x.json", "--json"]) == 2
    assert "--export-times is of one device" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_an_output_folder_that_cannot_be_is_refused_before_anything_is_measured(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["bench", str(plan), "--device", "cpu*2", *QUICK, "-o", str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert "Results cannot be written to" in said
    assert "Measuring" not in said


def test_later_ranks_write_nothing_to_standard_output(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert main(["bench", str(plan), "--batch", "many", "--json"]) == 2
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    assert main(["bench", str(plan), "--batch", "many", "--json"]) == 2
    assert "error" in json.loads(capsys.readouterr().out)


def test_a_rendezvous_that_nobody_holds_is_an_error(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(place: Any, *_: Any) -> Any:
        from trtkit.ranks import Meeting
        from trtkit.ranks.tcp import TcpLink

        return Meeting(TcpLink(place, patience_s=0.3))

    monkeypatch.setattr("trtkit.ranks.join", quick)
    assert main(["bench", str(plan), "--rendezvous", f"127.0.0.1:{free_port()},1,2", *QUICK]) == 8


@pytest.mark.parametrize("file", [Path("out/net.scale.json"), None])
def test_an_interrupted_run_says_what_it_has_kept(
    file: Path | None, plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(*_: Any, **__: Any) -> Any:
        found = CutShort(None)
        found.file = file
        raise found

    monkeypatch.setattr("trtkit.pipeline.scaling.scale", cut)
    assert main(["bench", str(plan), "--devices", "cpu*2", *QUICK]) == 130
    kept = f"what was measured until then is in {file}" if file else "nothing half-written was left behind"
    assert capsys.readouterr().err.splitlines()[-1] == f"interrupted: {kept}"


@pytest.mark.parametrize(("why", "code"), [("it was interrupted", 130), ("silent for 4 s", 8)])
def test_ranks_leave_an_interruption_without_mpis_abort(why: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[str, int]] = []

    def leave(code: int) -> None:
        left.append(("exit", code))
        raise SystemExit

    monkeypatch.setattr("os._exit", leave)
    meeting = SimpleNamespace(left_because={why}, lost=True, abort=lambda code: left.append(("abort", code)))
    meeting.close = lambda: left.append(("close", 0))
    with contextlib.suppress(SystemExit):
        _leave(cast(Any, meeting))
    assert left[0] == ("exit" if code == 130 else "abort", code)
