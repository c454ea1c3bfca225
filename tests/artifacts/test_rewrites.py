"""The report on rewrites: JSON round trip, what is kept, what is replayed, and how it reads."""

from __future__ import annotations

import json

from trtkit.artifacts.rewrites import AppliedRewrite, RewriteReport, Site

SITE = Site("lrn_band", ("norm1",), "norm1", "ab" * 32, ("norm1/lrn_band/square",), "64 channels")
REPORT = RewriteReport(
    "safe",
    (
        AppliedRewrite("lrn_band", (SITE, SITE), 1e-7, 1e-5, kept=True, gain=1.5),
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
    assert [item.sentence for item in REPORT.rewrites] == [
        "lrn_band: 2 places, differs by 1.0e-07 (limit 1.0e-05), 1.50 × as fast",
        "wrong: left out: output 'y' differs",
    ]
