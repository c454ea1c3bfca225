"""Processors beside a GPU, from a scripted ``/sys``."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtkit.backends import device_facts

BUS = "0000:1B:00.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-3", (0, 1, 2, 3)), ("2,5-6\n", (2, 5, 6)), ("100-200", ()), ("", ()), ("what", ())],
)
def test_processors_beside_the_gpu(
    text: str, expected: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_facts, "_names", lambda: (BUS, None))
    monkeypatch.setattr(device_facts, "_allowed", lambda: tuple(range(8)))
    (tmp_path / BUS.lower()).mkdir()
    (tmp_path / BUS.lower() / "local_cpulist").write_text(text)
    assert device_facts.processors_beside_gpu(tmp_path) == expected


@pytest.mark.parametrize("bus", [BUS, None])
def test_nothing_is_known_without_the_file(bus: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_facts, "_names", lambda: (bus, None))
    assert device_facts.processors_beside_gpu(tmp_path) == ()
