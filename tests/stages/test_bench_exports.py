"""CSV and trtexec's JSON: schemas, sums, and the columns that a reader needs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.measurement.scripted import clean, timeline
from trtkit.artifacts.finding import Finding, Verdict
from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor
from trtkit.stages.bench_exports import CSV_COLUMNS, layer_info, layer_profile, times, write_csv, write_export

NUMBER = {"type": "number", "minimum": 0}
TIMES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": dict.fromkeys(
            (
                *(f"{edge}{part}Ms" for part in ("Enq", "H2d", "Compute", "D2h") for edge in ("start", "end")),
                *("h2dMs", "computeMs", "d2hMs", "latencyMs"),
            ),
            NUMBER,
        ),
        "additionalProperties": False,
    },
}
TIMES["items"]["required"] = list(TIMES["items"]["properties"])  # type: ignore[index]
PROFILE = {
    "type": "array",
    "prefixItems": [{"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}],
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            **dict.fromkeys(("timeMs", "averageMs", "medianMs", "percentage"), NUMBER),
        },
        "required": ["name", "timeMs", "averageMs", "medianMs", "percentage"],
        "additionalProperties": False,
    },
}


def written(path: Path, value: Any) -> Any:
    write_export(path, value)
    return json.loads(path.read_text())


def test_times_are_trtexecs(tmp_path: Path) -> None:
    line = timeline([2.0, 3.0, 4.0], h2d_ms=1.0, d2h_ms=0.5, enqueue_ms=0.25)
    document = written(tmp_path / "times.json", times(line))
    jsonschema.validate(document, TIMES)
    assert [entry["latencyMs"] for entry in document] == [3.5, 4.5, 5.5]
    assert document[1]["startH2dMs"] == document[0]["endD2hMs"]
    assert [entry["endEnqMs"] - entry["startEnqMs"] for entry in document] == pytest.approx([0.25] * 3)


def test_the_profile_is_trtexecs(tmp_path: Path) -> None:
    iterations = [[("conv", 1.0), ("relu", 1.0)], [("conv", 2.0), ("relu", 1.0)], [("conv", 6.0), ("relu", 1.0)]]
    document = written(tmp_path / "profile.json", layer_profile(iterations))
    jsonschema.validate(document, PROFILE)
    assert document == [
        {"count": 3},
        {"name": "conv", "timeMs": 9.0, "averageMs": 3.0, "medianMs": 2.0, "percentage": 75.0},
        {"name": "relu", "timeMs": 3.0, "averageMs": 1.0, "medianMs": 1.0, "percentage": 25.0},
    ]


def test_a_layer_that_runs_twice_counts_twice_and_a_missing_one_nothing() -> None:
    document = layer_profile([[("a", 1.0), ("a", 2.0)], [("b", 5.0)]])
    assert [entry["timeMs"] for entry in document[1:]] == [3.0, 5.0]
    assert [entry["averageMs"] for entry in document[1:]] == [1.5, 2.5]


def test_layer_info_has_the_inspectors_keys(tmp_path: Path) -> None:
    x, y = LayerTensor("x", "fp16", (1, 3), "row major"), LayerTensor("y", "fp16", None)
    report = LayerReport("engine-inspector", (Layer("conv + relu", "correlation", (x,), (y,), ("conv", "relu"), "t1"),))
    document = written(tmp_path / "layers.json", layer_info(report, ["x", "y"]))
    assert document["Bindings"] == ["x", "y"]
    assert document["Layers"] == [
        {
            "Name": "conv + relu",
            "LayerType": "correlation",
            "Inputs": [{"Name": "x", "Dimensions": [1, 3], "Format/Datatype": "fp16 row major"}],
            "Outputs": [{"Name": "y", "Dimensions": [], "Format/Datatype": "fp16"}],
            "Constants": [],
            "TacticName": "t1",
            "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: relu]",
        }
    ]


def test_csv_has_a_line_a_measurement_and_empty_cells_for_what_is_unknown(tmp_path: Path) -> None:
    doubted = clean(conditions={"power_w": (100.0, 300.0)}).judged(
        Verdict((Finding("throttled", "t", "n"),), (Finding("unstable", "t", "n"), Finding("enqueue-bound", "t", "n")))
    )
    (tmp_path / "link").symlink_to("t.csv")
    write_csv(tmp_path / "link", [(clean(), tmp_path / "a.json"), (doubted, tmp_path / "b, c.json")])
    assert (tmp_path / "link").is_symlink()
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert (rows[0]["valid"], rows[0]["reasons"], rows[0]["power_w"]) == ("true", "", "")
    assert (rows[1]["valid"], rows[1]["reasons"]) == ("false", "throttled")
    assert rows[1]["notes"] == "unstable enqueue-bound"
    assert float(rows[1]["power_w"]) == 200
    assert float(rows[0]["images_per_s"]) == pytest.approx(8 / 10.001e-3, rel=1e-4)
    assert rows[1]["file"] == str(tmp_path / "b, c.json")
