"""What ``inspect`` shows of a manifest's rewrites."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.artifacts.test_plan import CONTENT, MANIFEST
from trtkit.artifacts.files import write_json
from trtkit.artifacts.plan import manifest_path
from trtkit.artifacts.rewrites import AppliedRewrite, RewriteReport, Site
from trtkit.cli.main import main

SITE = Site("lrn_band", ("norm1",), "norm1", "h" * 64, ("norm1_square",), "5 channels")
REPORT = RewriteReport(
    "auto",
    (
        AppliedRewrite("lrn_band", (SITE, SITE), 3e-7, 1e-5, True, None, 1.39, (1.3, 1.5), "H200, fp16, batch 1024"),
        AppliedRewrite("global_pool", (SITE,), 2e-7, 1e-5, True),
        AppliedRewrite("stem", (SITE,), None, None, False, "no gain: 0.9 × as fast"),
        AppliedRewrite("merge", (), None, None, False, "no place"),
    ),
    where="onnxruntime CPU",
    chosen_because="fastest of 3 measured contests",
)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ONNX artifact with its manifest, which has no header to read."""
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "net.fp16.null-0.1.onnx"
    path.write_bytes(CONTENT)
    return path


def shown(plan: Path, report: RewriteReport | None, capfd: pytest.CaptureFixture[str], *options: str) -> str:
    write_json(manifest_path(plan), replace(MANIFEST, file=plan.name, rewrites=report).to_json())
    assert main(["inspect", str(plan), *options]) == 0
    return capfd.readouterr().out


def test_each_rewrite_that_was_kept_is_shown_with_its_check_and_gain(
    plan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = shown(plan, REPORT, capfd)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("rewrites"))
    assert lines[start].startswith("rewrites lrn_band: 2 places") and "1.39 × as fast" in lines[start]
    assert lines[start + 1].startswith("global_pool: 1 place")
    rows = "\n".join(lines[start : start + 8])
    for part in ("3.0e-07", "limit 1.0e-05", "H200, fp16, batch 1024", "checked by onnxruntime CPU", "left out: stem"):
        assert part in rows
    assert "fastest of 3 measured contests" in rows and "merge" not in rows
    document = json.loads(shown(plan, REPORT, capfd, "--json"))
    found = {item["name"]: item for item in document["manifest"]["rewrites"]["rewrites"]}
    assert found["lrn_band"]["gain"] == 1.39 and found["lrn_band"]["difference"] == 3e-7
    assert found["stem"]["reason"] == "no gain: 0.9 × as fast"


def test_without_rewrites_there_is_no_row_or_one_that_says_so(plan: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "\n  rewrites " not in shown(plan, None, capfd)
    text = shown(plan, replace(REPORT, rewrites=()), capfd)
    assert "\n  rewrites " in text and "none: the graph is the source's" in text
