"""What is free, and when an attempt is pointless."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from trtkit.measurement import memory
from trtkit.measurement.memory import host_available_bytes, too_large

GIB = 2**30


def test_host_memory_agrees_with_psutil() -> None:
    found = host_available_bytes()
    assert found is not None
    assert found <= psutil.virtual_memory().total
    assert abs(found - psutil.virtual_memory().available) < psutil.virtual_memory().total / 4 or found < GIB


def test_a_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used, unlimited = tmp_path / "max", tmp_path / "current", tmp_path / "none"
    limit.write_text("1000\n")
    used.write_text("400\n")
    unlimited.write_text("max\n")
    monkeypatch.setattr(memory, "_CGROUPS", ((limit, used), (unlimited, used)))
    assert host_available_bytes() == 600
    used.write_text("4000\n")
    assert host_available_bytes() == 0
    monkeypatch.setattr(memory, "_CGROUPS", ())
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "nowhere")
    assert host_available_bytes() is None


def test_a_gpu_may_be_tried_beyond_its_memory_and_a_host_not() -> None:
    assert too_large(12 * GIB, 10 * GIB, "cuda") is None
    assert too_large(16 * GIB, 10 * GIB, "cuda") == (
        "it needs about 16.0 GiB for weights and activations, and 10.0 GiB are free on the device"
    )
    assert too_large(7 * GIB, 10 * GIB, "cpu") is None
    assert "on this machine" in str(too_large(9 * GIB, 10 * GIB, "cpu"))


def test_what_is_not_known_forbids_nothing() -> None:
    assert too_large(None, 1, "cpu") is None
    assert too_large(1, None, "cuda") is None
