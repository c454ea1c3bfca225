"""The table of rewrites: its lines from numbers, and the prototypes' entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.perf import optimize, optimize_table
from tests.perf.optimize_rows import Also, Row, Sheet, markdown
from tests.perf.optimize_table import prototypes, remember
from tests.pipeline.test_optimization import heavy
from trtkit.artifacts.files import read_json, write_json
from trtkit.backends.null import NullBackend
from trtkit.errors import UsageError
from trtkit.graph import io
from trtkit.graph.rewrites import safe
from trtkit.graph.rewrites.remembered import Remembered
from trtkit.measurement.contest import Contest, ContestRule

FACTS = {"command": "c", "where": "w 1", "how": "h", "load": [1.0, 2.0]}
FOUND = Contest(2.0, (1.9, 2.1), 20, 100.0, 50.0, "confident")


def row(model: str, batch: int = 1, **more: Any) -> Row:
    return Row(**{"model": model, "precision": "fp32", "batch": batch, "safe_names": ("lrn_band",),
                  "auto_names": ("lrn_band",), "safe": FOUND, "auto": None, "goal": None, "searched": False,
                  **more})  # fmt: skip


def test_a_line_shows_rates_ratios_and_what_was_not_run() -> None:
    found = FOUND
    both = Row("net", "fp32", 8, ("lrn_band",), ("lrn_band", "fold_pad"), found, found.reversed, 1.8)
    line = markdown([both], FACTS).splitlines()[-1]
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


def test_a_family_that_cannot_run_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if optimize.probe("tensorrt").cannot_run is None:
        pytest.skip("tensorrt runs here")
    assert optimize.main([str(tmp_path / "out"), "--family", "tensorrt"]) == 3
    assert "cannot run here" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_further_sets_stand_under_the_table_and_in_the_file_and_come_back() -> None:
    also = (Also("safe+fold_pad", ("lrn_band", "fold_pad"), FOUND), Also("safe-lrn_band", (), None, "it broke"))
    made = row("net", 8, also=also)
    text = markdown([made], FACTS)
    assert "Further sets, against base:" in text
    assert "* net fp32, 8, safe+fold_pad: 160 (2 (1.9…2.1)); lrn_band, fold_pad" in text
    assert "* net fp32, 8, safe-lrn_band: it broke; none" in text
    value = json.loads(json.dumps(made.to_json()))
    assert value["also"][0]["names"] == ["lrn_band", "fold_pad"] and value["also"][0]["contest"]["gain"] == 2.0
    assert Row.from_json(value) == made
    old = {name: entry for name, entry in value.items() if name not in ("also", "made")}
    assert Row.from_json(old) == row("net", 8)


def test_sets_are_named_by_what_is_added_to_safe_and_taken_from_it() -> None:
    target = "tensorrt-rtx:9.0"
    found = optimize.names_of("safe+stem_space_to_depth_16-stem_space_to_depth", target)
    assert set(found) == {*safe(target), "stem_space_to_depth_16"} - {"stem_space_to_depth"}
    assert optimize.names_of("safe", target) == safe(target)
    for text, where, said in (
        ("safe+lrn_bend", target, "There is no rewrite 'lrn_bend'. The rewrites are"),
        ("lrn_band", target, "no set of rewrites"),
        (
            "safe-stem_space_to_depth",
            "onnxruntime:cpu",
            "not among the safe rewrites of onnxruntime:cpu",
        ),
        ("safe+uint8_nhwc_input", target, "changes the inputs"),
    ):
        with pytest.raises(UsageError, match=said):
            optimize.names_of(text, where)
    assert optimize.main(["nowhere", "--family", "null", "--also", "safe+lrn_bend"]) == 2
    assert not Path("nowhere").exists()


def test_rows_that_are_not_measured_anew_stay_with_a_note_of_their_call(tmp_path: Path) -> None:
    first = Sheet(tmp_path)
    first.rows += [row("a"), row("b")]
    first.write({**FACTS, "command": "first"})
    second = Sheet(tmp_path, append=True)
    second.rows.append(row("b", goal=3.0))
    second.left_out = ["c fp32 batch 1"]
    second.write({**FACTS, "command": "second", "where": "w 2"})
    document, text = read_json(tmp_path / "optimize.json"), (tmp_path / "optimize.md").read_text()
    kept, anew = document["rows"]
    assert (kept["model"], anew["model"], anew["goal"], anew["made"]) == ("a", "b", 3.0, {})
    assert kept["made"]["command"] == "first" and kept["made"]["where"] == "w 1" and kept["made"]["ended"]
    assert "* a fp32, 1: kept from `first`, " in text and ": where w 1" in text and "* c fp32 batch 1" in text
    assert document["left_out"] == ["c fp32 batch 1"] and document["command"] == "second"
    # A third call keeps whose the first row is; another family's row of the same name is another row.
    third = Sheet(tmp_path, append=True)
    third.rows.append(row("a"))
    third.write({**FACTS, "command": "third", "where": "other 1"})
    made = [(r["model"], r["made"].get("command")) for r in read_json(tmp_path / "optimize.json")["rows"]]
    assert made == [("a", "first"), ("b", "second"), ("a", None)]
    Sheet(tmp_path).write(FACTS)
    assert read_json(tmp_path / "optimize.json")["rows"] == []


def test_rows_that_would_not_fit_into_the_budget_are_named_and_the_table_learns_after_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now, limits, learned = [0.0], [], []

    def measured(model: str, place: Any, target: str, seconds: float, **options: Any) -> Row:
        limits.append(seconds)
        now[0] += 40.0 if place.batch == 1 else 10.0
        options["entries"].append(place.batch)
        return row(model, place.batch)

    monkeypatch.setattr(optimize, "measured", measured)
    monkeypatch.setattr(optimize, "remember", lambda entries: learned.append(list(entries)))
    model = tmp_path / "net.onnx"
    io.save(heavy(), model, name="net", precision="fp32")
    words = [str(tmp_path / "out"), "--models", str(model), "--precisions", "fp32", "--batches", "2,1,4,3",
             "--no-auto", "--remember", "--seconds-budget", "75"]  # fmt: skip
    given, can = optimize.arguments_of(words), NullBackend().capabilities()
    sheet = optimize.run(given, can, (), words, lambda: now[0])
    assert limits == [75.0, 65.0] and learned == [[2], [1]] and [entry.batch for entry in sheet.rows] == [2, 1]
    document = read_json(tmp_path / "out" / "optimize.json")
    assert document["left_out"] == ["net fp32 batch 4", "net fp32 batch 3"]
    given.seconds_budget = 0.0
    nothing = optimize.run(given, can, (), words, lambda: now[0])
    assert nothing.rows == [] and len(nothing.left_out) == 4


def test_what_was_found_is_merged_into_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(optimize_table, "TABLE", tmp_path / "table.json")
    write_json(tmp_path / "table.json", {"entries": []})
    entry = Remembered("lrn_band", "net", ("r",), (), "null", "1", "nothing", "fp32", 1, 1.5, (1.4, 1.6), "here")
    remember([entry])
    remember([entry])
    assert [Remembered.from_json(value) for value in read_json(tmp_path / "table.json")["entries"]] == [entry]


def test_a_row_is_measured_for_real(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(optimize, "RULE", ContestRule(burst_s=0.002, rounds=6, max_rounds=6))
    io.save(heavy(), tmp_path / "net.onnx", name="net", precision="fp32")
    words = [str(tmp_path / "out"), "--family", "null", "--models", str(tmp_path / "net.onnx"), "--batches", "4"]
    assert optimize.main([*words, "--no-auto", "--also", "safe,safe-lrn_band"]) == 0
    (found,) = map(Row.from_json, read_json(tmp_path / "out" / "optimize.json")["rows"])
    assert found.safe_names == ("lrn_band",) and found.safe is not None and found.problem is None
    assert found.also[0].contest == found.safe and found.also[1] == Also("safe-lrn_band", (), None)
    assert "| net | fp32, 4 |" in capsys.readouterr().out
