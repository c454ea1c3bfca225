"""The table of rewrites: its lines from numbers, and the prototypes' entries."""

from __future__ import annotations

import pytest

from tests.perf import optimize
from tests.perf.optimize import Row, markdown, prototypes
from trtkit.measurement.contest import Contest

FACTS = {"command": "c", "where": "w", "how": "h", "load": [1.0, 2.0]}


def test_a_line_shows_rates_ratios_and_what_was_not_run() -> None:
    found = Contest(2.0, (1.9, 2.1), 20, 100.0, 50.0, "confident")
    row = Row("net", "fp32", 8, ("lrn_band",), ("lrn_band", "fold_pad"), found, found.reversed, 1.8)
    line = markdown([row], FACTS).splitlines()[-1]
    assert line.startswith("| net | fp32, 8 | 80 | 160 (2 (1.9…2.1)) | 80 (0.5 (") and "| 1.8 × |" in line
    alone = Row("net", "fp32", 8, ("lrn_band",), (), found, None, None, searched=False)
    assert "| not run |  | lrn_band |" in markdown([alone], FACTS)
    same = Row("net", "fp32", 8, (), (), None, None, None)
    assert markdown([same], FACTS).splitlines()[-1] == (
        "| net | fp32, 8 | – | the base's graph | the base's graph |  | none |"
    )


def test_the_prototypes_multiply_to_what_was_measured_of_both() -> None:
    found = {(entry.model, entry.rewrite): entry for entry in prototypes()}
    both = found["alexnet", "lrn_band"].gain * found["alexnet", "stem_space_to_depth"].gain
    assert both == pytest.approx(109402 / 45528, rel=2e-3)
    assert all(entry.regions and "by hand" in entry.source for entry in found.values())


def test_a_family_that_cannot_run_is_told(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    if optimize.probe("tensorrt").cannot_run is None:
        pytest.skip("tensorrt runs here")
    assert optimize.main([str(tmp_path / "out"), "--family", "tensorrt"]) == 3
    assert "cannot run here" in capsys.readouterr().err and not (tmp_path / "out").exists()
