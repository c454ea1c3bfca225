"""Checkpoints: whole or absent whatever happens, and refused for another calibration."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from calibration.checkpoint import Checkpoint, load, save
from calibration.collect import Collector
from trtkit.errors import CalibrationError

IDENTITY = {"model": "ab12", "data": "cd34", "batch size": 8, "tensors": ["a", "b"]}

# Folds seeded samples in, one at a time, with a checkpoint after each; goes on from the one that it finds.
CHILD = """
import sys
from pathlib import Path
import numpy as np
from calibration.checkpoint import Checkpoint, load, save
from calibration.collect import Collector

path, steps = Path(sys.argv[1]), int(sys.argv[2])
found = load(path, {"model": "m"})
collector = Collector.from_state(found.state) if found else Collector(["x", "y"])
for step in range(found.position if found else 0, steps):
    rng = np.random.default_rng(step)
    x = rng.standard_normal((1, 30_000)).astype(np.float32) * np.float32(step + 1)
    collector.update({"x": x, "y": np.maximum(x, 0)}, [str(step)])
    save(path, Checkpoint({"model": "m"}, step + 1, collector.state()))
    print(step, flush=True)
"""


def _checkpoint() -> Checkpoint:
    collector = Collector(["a", "b"], exact_only=["a"])
    collector.update({"a": np.ones((2, 3)), "b": np.linspace(-1, 1, 6).reshape(2, 3)}, ["1", "2"])
    return Checkpoint(IDENTITY, 2, collector.state())


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path, made = tmp_path / "deeper" / "c.npz", _checkpoint()
    save(path, made)
    found = load(path, IDENTITY)
    assert found is not None
    assert (found.position, found.identity) == (2, IDENTITY)
    assert found.state.keys() == made.state.keys()
    assert all(np.array_equal(found.state[key], made.state[key]) for key in made.state)
    assert [entry.name for entry in path.parent.iterdir()] == ["c.npz"]


def test_none_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path / "c.npz", IDENTITY) is None


def test_another_calibrations_checkpoint_is_refused_naming_every_difference(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    save(path, _checkpoint())
    with pytest.raises(CalibrationError) as caught:
        load(path, {**IDENTITY, "model": "ffff", "batch size": 4, "seed": 1})
    for part in ("model: ab12 then, ffff now", "batch size: 8 then, 4 now", "seed: nothing then, 1 now"):
        assert part in caught.value.message
    assert "data" not in caught.value.message


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c.npz"
    save(path, _checkpoint())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CalibrationError, match="damaged"):
        load(path, IDENTITY)


@pytest.mark.parametrize("arrays", [{"x": np.ones(3)}, {"checkpoint.json": np.array("[]")}])
def test_other_npz_files_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "c.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match="damaged"):
        load(tmp_path / "c.npz", IDENTITY)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    save(path, _checkpoint())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(CalibrationError, match="damaged"):
        load(path, IDENTITY)


def test_killed_at_any_moment_and_resumed_is_the_same_to_the_bit(tmp_path: Path) -> None:
    steps = 60
    command = [sys.executable, "-c", CHILD]
    killed = 0
    for pause in (0.0, 0.013, 0.031):
        child = subprocess.Popen([*command, tmp_path / "k.npz", str(steps)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()  # the first checkpoint is there
        time.sleep(pause)
        child.kill()
        killed += child.wait() < 0
        child.stdout.close()
        assert load(tmp_path / "k.npz", {"model": "m"}) is not None
    assert killed
    for name in ("k.npz", "whole.npz"):
        subprocess.run([*command, tmp_path / name, str(steps)], check=True, stdout=subprocess.DEVNULL, timeout=60)
    resumed, whole = (load(tmp_path / name, {"model": "m"}) for name in ("k.npz", "whole.npz"))
    assert resumed is not None
    assert whole is not None
    assert (resumed.position, whole.position) == (steps, steps)
    assert all(np.array_equal(resumed.state[key], whole.state[key]) for key in whole.state)
