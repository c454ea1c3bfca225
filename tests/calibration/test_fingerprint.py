"""The fingerprint of data: equal as long as nothing changes, another one when anything does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from calibration.fingerprint import fingerprint
from calibration.source import DataSpec
from tests.calibration.images import write_folder


def test_a_folder_changes_with_its_files(tmp_path: Path) -> None:
    spec = DataSpec(write_folder(tmp_path / "photos", 3))
    first = fingerprint(spec)
    assert fingerprint(spec) == first
    (tmp_path / "photos" / "more.png").write_bytes((tmp_path / "photos" / "000.png").read_bytes())
    second = fingerprint(spec)
    assert second != first
    os.utime(tmp_path / "photos" / "more.png", ns=(1, 1))
    assert fingerprint(spec) not in (first, second)


def test_a_list_changes_with_its_text_and_with_the_files_it_names(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", 3)
    path = tmp_path / "list.txt"
    path.write_text("000.png\n001.png\nmissing.png\n")
    spec = DataSpec(path, root=tmp_path / "photos")
    first = fingerprint(spec)
    assert fingerprint(spec) == first
    (tmp_path / "photos" / "002.png").unlink()  # not on the list
    assert fingerprint(spec) == first
    (tmp_path / "photos" / "001.png").unlink()
    second = fingerprint(spec)
    path.write_text("000.png\n001.png\n")
    assert len({first, second, fingerprint(spec)}) == 3


def test_arrays_and_seeds_and_functions(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    spec = DataSpec(tmp_path / "a.npy")
    first = fingerprint(spec)
    np.save(tmp_path / "a.npy", np.zeros(4))
    assert fingerprint(spec) != first
    assert (
        fingerprint(DataSpec(synthetic=8)) == fingerprint(DataSpec(synthetic=8)) != fingerprint(DataSpec(synthetic=9))
    )
    function = DataSpec("json:loads")
    assert fingerprint(function) != fingerprint(function)
