"""What every family owes a benchmark: each of its modes measured in a worker, as production does it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.test_families import Built, built, can, runnable  # noqa: F401 - fixtures
from trtkit import worker
from trtkit.artifacts.bench import Conditions
from trtkit.artifacts.bench_settings import MODES, BenchSettings
from trtkit.artifacts.device import Device, DeviceFacts, worker_env
from trtkit.artifacts.timeline import Timeline
from trtkit.backends import registry
from trtkit.errors import TrtkitError, UsageError
from trtkit.stages.bench import read_timeline

ON_DEVICE = ("compute", "compute-graph")


def device(built: Built) -> Device:  # noqa: F811
    return Device("cuda") if built.can.gpus and built.can.device != "CPU" else Device("cpu")


def modes(built: Built) -> tuple[str, ...]:  # noqa: F811
    """All of them on a GPU; a processor has nothing to copy to, and the null family pretends."""
    return tuple(MODES) if device(built).kind == "cuda" or built.can.family == "null" else ("compute",)


def measure(built: Built, results: Path, mode: str = "compute", batch: int = 3, **changes: Any) -> dict[str, Any]:  # noqa: F811
    where = device(built)
    settings = BenchSettings(
        mode, batch, warmup_s=0.02, duration_s=0.1, max_duration_s=0.3, threads=1, spinning=False, **changes
    )
    value: dict[str, Any] = worker.run(
        "trtkit.backends.bench_jobs:measure",
        {
            "family": built.can.family,
            "plan": str(built.plan),
            "device": asdict(where),
            "settings": settings.to_json(),
            "results": str(results),
        },
        what=f"the benchmark of {built.can.family}",
        env={**registry.worker_env(built.can.family), **worker_env(where)},
    ).value
    return value


def timeline(file: Path, batch: int = 3) -> Timeline:
    return read_timeline(file, batch)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_measured_or_refused(built: Built, mode: str, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "r.npz"
    if mode not in modes(runnable(built)):
        with pytest.raises(UsageError, match=f"no mode '{mode}'") as caught:
            measure(built, file, mode)
        assert all(name in caught.value.message for name in modes(built))
        return
    found = measure(built, file, mode)
    rows = timeline(file)
    assert len(rows) >= 6
    starts = rows.column("start_compute_ms")
    assert (np.diff(starts) > 0).all(), "in the order in which they were started"
    for part in ("enqueue", "h2d", "compute", "d2h"):
        assert (rows.column(f"{part}_ms") >= 0).all()
    assert (rows.column("compute_ms") > 0).all()
    assert (rows.column("start_h2d_ms") <= rows.column("start_compute_ms")).all()
    assert (rows.column("end_compute_ms") <= rows.column("start_d2h_ms") + 1e-6).all()
    if mode in ON_DEVICE:
        assert (rows.column("h2d_ms") == 0).all()
        assert (rows.column("d2h_ms") == 0).all()
    else:
        assert rows.column("h2d_ms").max() > 0
    if mode != "overlapped":
        assert (starts[1:] >= rows.column("end_compute_ms")[:-1] - 1e-3).all(), "one after the other"
    conditions = Conditions(**found["conditions"])
    assert conditions.where
    assert {"graph", "streams", "buffers", "input_bytes", "output_bytes"} <= set(conditions.facts)
    assert conditions.facts["input_bytes"] == 3 * 3 * 8 * 8 * 4
    assert conditions.facts["output_bytes"] == 3 * 4 * 4
    assert conditions.warmup["iterations"] >= 2 and conditions.warmup["first_ms"] > 0
    assert conditions.stopped in ("confident", "max-duration")
    assert conditions.check is not None
    assert conditions.check["finite"] and conditions.check["run_matches"]
    assert DeviceFacts.from_json(found["device"]).device == str(device(built))


def test_times_lie_on_the_machines_clock(built: Built, tmp_path: Path) -> None:  # noqa: F811
    import time

    before = time.monotonic()
    measure(runnable(built), tmp_path / "r.npz")
    after = time.monotonic()
    rows = timeline(tmp_path / "r.npz")
    first = rows.epoch_monotonic_s + rows.column("start_h2d_ms").min() / 1e3
    last = rows.epoch_monotonic_s + rows.column("end_d2h_ms").max() / 1e3
    assert before < first < last < after
    assert len(rows.between(before, after)) == len(rows)


def test_the_settings_in_force_come_back(built: Built, tmp_path: Path) -> None:  # noqa: F811
    found = measure(runnable(built), tmp_path / "r.npz", seed=7, buffers=2)
    back = BenchSettings.from_json(found["settings"])
    assert (back.seed, back.buffers, back.batch) == (7, 2, 3)
    assert back.shapes == {"x": (3, 3, 8, 8)}
    assert found["conditions"]["facts"]["buffers"] == 2


def test_the_same_seed_gives_the_same_checked_outputs(built: Built, tmp_path: Path) -> None:  # noqa: F811
    arrays = []
    for name in ("a.npz", "b.npz"):
        measure(runnable(built), tmp_path / name, buffers=1)
        with np.load(tmp_path / name) as saved:
            arrays.append({key: saved[key] for key in saved.files if "/" in key})
    assert set(arrays[0]) == {"in/x", "out/y"}
    np.testing.assert_array_equal(arrays[0]["in/x"], arrays[1]["in/x"])
    np.testing.assert_allclose(arrays[0]["out/y"], arrays[1]["out/y"], rtol=1e-5)


def test_the_wrong_shape_is_an_error_of_the_tree(built: Built, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(TrtkitError) as caught:
        measure(runnable(built), tmp_path / "r.npz", shapes={"x": (3, 2, 8, 8)})
    assert caught.value.hint
    assert not (tmp_path / "r.npz").exists()
