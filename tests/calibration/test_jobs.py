"""The worker's jobs on a small network: a worker that is killed and one that goes on give the same numbers."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest

from calibration.job_data import JobData
from calibration.source import DataSpec
from model_defs.definition import IMAGENET_RGB
from tests.calibration.images import write_folder
from tests.graph.qdq_models import inception
from trtkit import worker
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.backends import registry
from trtkit.errors import CalibrationError
from trtkit.graph.observe import observe
from trtkit.worker import Log, Progress

TENSORS = ["x", "pool1", "reduce_relu", "joined", "last_relu"]
METHODS = ["minmax", "percentile:99.9", "entropy", "mse"]
SAMPLES, BATCH = 120, 2


class StopError(Exception):
    """What a listener raises in the middle of a run."""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that ``collect`` takes but for the checkpoint; a checkpoint after each batch."""
    folder = tmp_path_factory.mktemp("jobs")
    samples = np.random.default_rng(0).standard_normal((SAMPLES, 3, 16, 16), dtype=np.float32)
    np.save(folder / "samples.npy", samples)
    onnx.save(observe(inception(), TENSORS), folder / "observed.onnx")
    inputs = (TensorSpec("x", "float32", ("N", 3, 16, 16)),)
    data = JobData(DataSpec(folder / "samples.npy"), inputs, None, holdout=0.1, seed=0, batch=BATCH)
    return {
        "data": data.to_json(),
        "observed": str(folder / "observed.onnx"),
        "tensors": TENSORS,
        "exact_only": ["x"],
        "methods": METHODS,
        "dtype": "int8",
        "model": "m",
        "checkpoint_s": 0.0,
    }


def collect(arguments: dict[str, Any], checkpoint: Path, on_event: Any = None, *, resume: bool = False) -> Any:
    return worker.run(
        "calibration.jobs:collect",
        {**arguments, "checkpoint": str(checkpoint), "resume": resume},
        what="calibration",
        died=CalibrationError,
        env=registry.worker_env("onnxruntime"),
        on_event=on_event,
    ).value


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "c.npz"


@pytest.fixture(scope="module")
def whole(arguments: dict[str, Any], finished: Path) -> Any:
    return collect(arguments, finished)


@pytest.fixture
def left(whole: Any, finished: Path, tmp_path: Path) -> Path:
    """The checkpoint of a run that came to its end."""
    for path in finished.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / finished.name


def facts(answer: Any) -> dict[str, Any]:
    """What must not depend on interruptions: everything but the times."""
    return {name: value for name, value in answer.items() if not name.endswith("_s")}


def resumed(arguments: dict[str, Any], checkpoint: Path) -> tuple[Any, list[str]]:
    said: list[str] = []
    answer = collect(arguments, checkpoint, lambda e: said.append(e.text) if isinstance(e, Log) else None, resume=True)
    return answer, [line for line in said if line.startswith("continued after")]


def test_thresholds_agree_with_the_values_themselves(arguments: dict[str, Any], whole: Any) -> None:
    data = JobData.from_json(arguments["data"])
    _, calibration, held_out = data.open()
    assert not set(calibration) & set(held_out)
    assert (whole["samples"], whole["held_out"]) == (len(calibration), len(held_out)) == (108, 12)
    samples = np.load(data.spec.source)[sorted(calibration)]  # type: ignore[arg-type]
    import onnxruntime

    session = onnxruntime.InferenceSession(arguments["observed"], providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    truth = {"x": samples, **dict(zip(names, session.run(names, {"x": samples}), strict=True))}
    for name in TENSORS:
        largest = float(np.abs(truth[name]).max())
        assert whole["amax"]["minmax"][name] == pytest.approx(largest, rel=1e-5)
        assert all(0 < whole["amax"][method][name] <= largest * 1.01 for method in METHODS)
    assert len({whole["amax"][method]["x"] for method in METHODS}) == 1  # the graph input keeps its maximum


def test_killed_and_resumed_is_the_same_to_the_bit(arguments: dict[str, Any], whole: Any, tmp_path: Path) -> None:
    checkpoint, before = tmp_path / "c.npz", set(psutil.Process().children())

    def kill(event: Progress | Log) -> None:
        if isinstance(event, Progress) and event.phase == "Collecting statistics" and event.step == 7 * BATCH:
            (child,) = set(psutil.Process().children()) - before
            child.send_signal(signal.SIGKILL)

    with pytest.raises(CalibrationError, match="killed"):
        collect(arguments, checkpoint, kill)
    assert checkpoint.exists()
    answer, lines = resumed(arguments, checkpoint)
    assert len(lines) == 1
    assert int(lines[0].split()[2]) >= 7 * BATCH
    assert facts(answer) == facts(whole)


def test_an_exception_of_the_listener_ends_the_worker_and_the_rest_can_follow(
    arguments: dict[str, Any], whole: Any, tmp_path: Path
) -> None:
    def stop(event: Progress | Log) -> None:
        if isinstance(event, Progress) and event.phase == "Collecting statistics" and event.step >= 3 * BATCH:
            raise StopError

    children = set(psutil.Process().children())
    with pytest.raises(StopError):
        collect(arguments, tmp_path / "c.npz", stop)
    assert set(psutil.Process().children()) == children
    answer, lines = resumed(arguments, tmp_path / "c.npz")
    assert len(lines) == 1
    assert facts(answer) == facts(whole)


def test_a_checkpoint_of_another_model_is_refused(arguments: dict[str, Any], left: Path) -> None:
    with pytest.raises(CalibrationError, match="model"):
        collect({**arguments, "model": "another"}, left, resume=True)
    with pytest.raises(CalibrationError, match="tensors"):
        collect({**arguments, "tensors": TENSORS[:-1]}, left, resume=True)


def heard(arguments: dict[str, Any], checkpoint: Path, *, resume: bool = False) -> tuple[Any, list[str]]:
    said: list[str] = []
    answer = collect(
        arguments, checkpoint, lambda e: said.append(e.text) if isinstance(e, Log) else None, resume=resume
    )
    return answer, said


def test_resume_says_what_it_found(arguments: dict[str, Any], left: Path, tmp_path: Path) -> None:
    _, said = heard(arguments, tmp_path / "none.npz", resume=True)
    assert any("no checkpoint is there to continue from" in text for text in said)
    _, said = heard(arguments, left)
    assert any("not continued, for want of --resume" in text for text in said)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "choice of them"),
        ({"holdout": 0.2}, "calibration samples"),
        ({"batch": 3}, "batch"),
        ({"preprocessing": IMAGENET_RGB.to_json()}, "preprocessing"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    arguments: dict[str, Any], left: Path, change: dict[str, Any], named: str
) -> None:
    other = {**arguments, "data": {**arguments["data"], **change}}
    with pytest.raises(CalibrationError, match=named):
        collect(other, left, resume=True)


def pictures(folder: Path, count: int, broken: Sequence[int], arguments: dict[str, Any], **options: Any) -> Any:
    """The arguments for images of which some turn out to be damaged when they are decoded."""
    write_folder(folder, count)
    for index in broken:
        path = folder / f"{index:03}.png"
        path.write_bytes(path.read_bytes()[:-40])
    inputs = (TensorSpec("x", "float32", ("N", 3, 16, 16)),)
    recipe = Preprocessing(16, (16, 16), "RGB", (127.5,) * 3, (57.0,) * 3)
    data = JobData(DataSpec(folder), inputs, recipe, **{"holdout": 0.25, "seed": 0, "batch": 2, **options})
    return {**arguments, "data": data.to_json()}


def test_damage_that_decoding_shows_is_counted_after_a_kill_too(arguments: dict[str, Any], tmp_path: Path) -> None:
    given = pictures(tmp_path / "photos", 40, (1, 2, 30), arguments)
    data = JobData.from_json(given["data"])
    _, calibration, _ = data.open()
    lost = len({1, 2, 30} & set(calibration))
    assert lost  # else this test says nothing
    before = heard(given, tmp_path / "whole.npz")[0]
    assert before["samples"] == len(calibration) - lost
    assert sum(before["description"]["skipped"].values()) == lost
    checkpoint, children = tmp_path / "c.npz", set(psutil.Process().children())

    def kill(event: Progress | Log) -> None:
        if isinstance(event, Progress) and event.phase == "Collecting statistics" and event.step >= 16:
            (child,) = set(psutil.Process().children()) - children
            child.send_signal(signal.SIGKILL)

    with pytest.raises(CalibrationError, match="killed"):
        collect(given, checkpoint, kill)
    again, said = heard(given, checkpoint, resume=True)
    assert any(text.startswith("continued after") for text in said)
    assert facts(again) == facts(before)


def test_no_sample_at_all_is_an_error_and_a_few_are_a_warning(arguments: dict[str, Any], tmp_path: Path) -> None:
    given = pictures(tmp_path / "none", 3, (0, 1, 2), arguments, holdout=0.0)
    with pytest.raises(CalibrationError, match=r"None of the 3 calibration samples .* 3 × damaged") as caught:
        collect(given, tmp_path / "c.npz")
    assert "other data" in caught.value.hint
    given = pictures(tmp_path / "few", 3, (0,), arguments, holdout=0.0)
    shutil.copy(tmp_path / "few" / "001.png", tmp_path / "few" / "again.png")
    _, said = heard(given, tmp_path / "c.npz")
    assert any(text.startswith("2 different samples to calibrate with (3 of them, but equal ones") for text in said)
    _, said = heard(arguments, tmp_path / "c2.npz")
    assert not any("different samples" in text for text in said)  # 108 are enough


def test_what_a_fixed_batch_leaves_over_is_counted(arguments: dict[str, Any], tmp_path: Path) -> None:
    given = pictures(tmp_path / "photos", 11, (4,), arguments, holdout=0.0, batch=4, fixed=True)
    answer, _ = heard(given, tmp_path / "c.npz")
    assert answer["samples"] == 8  # two whole batches of the ten that can be read
    assert answer["description"]["skipped"] == {
        "damaged or cut short": 1,
        "left over: the model takes exactly 4 at a time": 2,
    }
    assert answer["description"]["samples"] == 8


@pytest.mark.parametrize(
    ("count", "holdout", "held"),
    [
        (32, 0.2, 10),
        (32, 0.0, 0.0),
        (32, 6, 10),
        (100, 0.2, 20),
        (100, 0.26, 30),
        (20, 0.9, 10),
        (12, 0.2, 0),
        (9, 0.2, 0.2),
    ],
)
def test_a_fixed_batch_holds_out_whole_batches(count: int, holdout: float, held: float) -> None:
    data = JobData(DataSpec(synthetic=count), (), None, holdout, 0, 10, fixed=True)
    assert data.held_out_of(count) == held
    assert replace(data, fixed=False).held_out_of(count) == holdout


def test_held_out_batches_of_a_fixed_size_are_told(arguments: dict[str, Any], tmp_path: Path) -> None:
    given = pictures(tmp_path / "photos", 11, (), arguments, holdout=0.2, batch=4, fixed=True)
    answer, said = heard(given, tmp_path / "c.npz")
    assert (answer["samples"], answer["held_out"]) == (4, 4)
    assert "the model takes exactly 4 samples at a time: 4 of 11 are held out, 3 are left over" in said
