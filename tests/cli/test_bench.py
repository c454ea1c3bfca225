"""What ``bench`` prints: at every width all of it, with what a reader should know below."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from rich.console import Console

from tests.contract.test_families import conv_net
from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.bench_settings import MODES
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.artifacts.sweep import Sweep
from trtkit.cli.bench_tables import number, show
from trtkit.cli.main import main
from trtkit.errors import RunError
from trtkit.pipeline import ConvertRequest, convert
from trtkit.pipeline.bench_request import BenchmarkResult, Failure, Run
from trtkit.stages.export import SourceRequest

HEADS = ("batch", "images/s", "p50 ms", "p90", "p95", "p99", "compute", "enqueue", "% peak")
QUICK = ["--duration", "0.05", "--max-duration", "0.1", "--warmup", "0.01"]


def result(precision: str, mode: str, batch: int, *, copies: bool = True) -> BenchResult:
    line = timeline(
        [0.05 + batch * 0.012 + 0.001 * (i % 3) for i in range(50)],
        h2d_ms=0.2 * batch if copies and mode in ("transfers", "overlapped") else 0.0,
        d2h_ms=0.02 if copies and mode in ("transfers", "overlapped") else 0.0,
        images=batch,
    )
    found = clean(
        subject={"precision": precision},
        settings={"mode": mode, "batch": batch},
        timeline=line,
        conditions={"power_w": (300.0, 320.0)},
    )
    return replace(found, peak_ops_per_s=1e15)


def everything(*, invalid: bool = True) -> BenchmarkResult:
    results = [result(p, mode, batch) for p in ("fp32", "fp16") for mode in MODES for batch in (1, 1024)]
    noted = Verdict((), (Finding("unstable", "It moves by 9 %.", "Keep still."),))
    results = [found.judged(noted) if found.settings.batch == 1 else found for found in results]
    if invalid:
        results[1] = results[1].judged(Verdict((Finding("throttled", "The clock fell.", "Cool it."),)))
    sweep = Sweep("k", "net", "fp16", "tensorrt-rtx", "cuda:0", "compute", "each", stopped="batch 7 is the largest")
    failure = Failure("fp16 on cuda:0, batch 2048, compute", RunError("It is out of memory.", hint="h"))
    runs = tuple(Run(found, Path("out") / f"{index}.bench.json") for index, found in enumerate(results))
    return BenchmarkResult(runs, (sweep,), (failure,), "asked for", 12.0)


def shown(found: BenchmarkResult, width: int) -> str:
    screen = io.StringIO()
    show(found, Console(file=screen, width=width, highlight=False, markup=False, emoji=False))
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_every_column_is_whole_at_every_width(width: int) -> None:
    lines = shown(everything(), width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(head in text for head in (*HEADS, "H2D ms", "D2H", "W", "img/J", "verdict", "precision", "mode"))
    table = [line for line in lines if line.startswith(("precision", "fp32", "fp16"))]
    assert not [line for line in table if "…" in line], text
    assert len(table) == (17 if width >= 140 else 34), "one table where it fits, two where it does not"


def test_what_stands_below_is_said_once() -> None:
    text = " ".join(shown(everything(), 140).split())
    assert "INVALID batch 1024 compute: The clock fell. Cool it." in text
    assert text.count("It moves by 9 %. Keep still.") == 1
    assert "batch 1 compute (and 1 compute-graph, 1 transfers, 1 overlapped): It moves" in text
    assert "fp16 on cuda:0. At batch 1024: overlapped is" in text and "fp32 on cuda:0. At batch 1024" in text
    assert text.count("trtexec 11 reports") == 1
    assert "ladder fp16, compute: batch 7 is the largest" in text
    assert "failed fp16 on cuda:0, batch 2048, compute: It is out of memory." in text
    assert "16 files ….bench.json in out/; 800 iterations" in text


def test_columns_that_are_empty_everywhere_are_dropped() -> None:
    only = Run(clean(), Path("a.bench.json"))
    text = shown(BenchmarkResult((only,), (), (), "asked for", 1.0), 200)
    head = text.splitlines()[1]
    assert all(name in head for name in HEADS)
    assert not [name for name in ("H2D", "D2H", "W", "img/J", "verdict", "mode", "precision") if name in head.split()]
    assert text.splitlines()[0] == "net  fp16 · cuda:0 · tensorrt-rtx · compute-graph · NVIDIA H100 80GB HBM3"


def test_numbers_have_three_digits_that_count() -> None:
    cases = {None: "", 0.0: "", 0.00123: "0.0012", 0.0734: "0.073", 1.234: "1.23", 12.34: "12.3", 123.4: "123"}
    assert {value: number(value) for value in cases} == cases
    assert number(12345.6) == "12,346"


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    onnx.save(conv_net(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_the_command_on_a_narrow_terminal(net: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(net.parent / "out")
    assert main(["bench", str(net), "--device", "cpu", "--batch", "1,4", *QUICK, "-o", folder]) == 0
    screen = capfd.readouterr()
    assert max(map(len, screen.out.splitlines())) <= 80
    assert screen.out.startswith("net  fp32 · cpu · onnxruntime · compute")
    assert "2 files ….bench.json" in screen.out
    assert "Measuring batch 4 (fp32, compute) …" in screen.err


def test_strict_exits_with_nine_and_json_is_one_document(net: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ConvertRequest(SourceRequest(str(net)), family="null", output=net.parent / "p", validate=False)
    plan = str(convert(asked).plan)
    capfd.readouterr()
    command = [
        "bench",
        plan,
        "--batch-sweep",
        "auto",
        "--sweep-limit",
        "2",
        *QUICK,
        "-o",
        str(net.parent / "out"),
        "--json",
    ]
    assert main(command) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["valid"] is False
    assert document["sweeps"][0]["stopped"] == "batch 2 is the largest that was to be tried (--sweep-limit)"
    assert [run["settings"]["batch"] for run in document["runs"]] == [1, 2]
    assert main([*command, "--strict"]) == 9


def test_options_that_mean_nothing_are_told(net: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common = ["bench", str(net), "--device", "cpu", "--batch", "1", *QUICK, "-o", str(net.parent / "out")]
    assert main([*common, "--model-seed", "3"]) == 2
    assert "--model-seed goes with a model definition" in capfd.readouterr().err
    assert main([*common, "--profile", "shared"]) == 0
    assert "--profile shared means nothing here: ONNX Runtime builds no engine" in capfd.readouterr().err
