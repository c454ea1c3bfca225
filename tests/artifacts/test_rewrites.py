"""The report on rewrites: JSON round trip, what is kept, what is replayed, and how it reads."""

from __future__ import annotations

import json
from dataclasses import replace

from trtkit.artifacts.rewrites import AppliedRewrite, RewriteReport, Site

SITE = Site("lrn_band", ("norm1",), "norm1", "ab" * 32, ("norm1/lrn_band/square",), "64 channels")
KEPT = AppliedRewrite("lrn_band", (SITE, SITE), 1e-7, 1e-5, kept=True, gain=1.5, gain_source="a net on a GPU")
REPORT = RewriteReport(
    "safe",
    (
        KEPT,
        AppliedRewrite("wrong", (), 0.5, 1e-5, kept=False, reason="output 'y' differs"),
    ),
    2e-7,
    ("batch 1", "batch 3"),
    "ONNX Runtime",
    1.5,
)


def test_json_round_trip():
    assert RewriteReport.from_json(json.loads(json.dumps(REPORT.to_json()))) == REPORT
    assert Site.from_json(json.loads(json.dumps(SITE.to_json()))) == SITE


def test_what_is_kept_and_replayed():
    assert REPORT.names == ("lrn_band",)
    assert REPORT.replay == {"lrn_band": ("norm1",)}


def test_sentences():
    assert [item.sentence() for item in REPORT.rewrites] == [
        f"lrn_band: 2 places, 1.50 × as fast for {KEPT.gain_source}",
        "wrong: left out: output 'y' differs",
    ]
    assert KEPT.sentence(f"fastest of 3 contests with {KEPT.gain_source}") == "lrn_band: 2 places, 1.50 × as fast"


def test_lines_name_the_common_difference_once():
    several = (KEPT, replace(KEPT, name="global_pool", gain=None))
    chosen = replace(REPORT, rewrites=several, chosen_because="never slower on a GPU")
    assert chosen.lines[1:] == (
        "global_pool: 2 places",
        "together they differ by 1.0e-07 from the source (limit 1.0e-05)",
        "chosen: never slower on a GPU",
    )
    apart = replace(REPORT, rewrites=(KEPT, replace(several[1], difference=3e-7)))
    assert "global_pool: differs by 3.0e-07 (limit 1.0e-05)" in apart.lines


def test_lines_say_that_nothing_was_kept_and_what_was_tried():
    lost = replace(KEPT, name="merge", kept=False, sites=(), reason="no gain")
    found = RewriteReport("auto", (lost,), chosen_because="fastest of 2 measured contests").lines
    assert found == ("none: the graph is the source's; merge brought nothing", "chosen: fastest of 2 measured contests")
