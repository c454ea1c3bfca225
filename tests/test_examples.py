"""Every example is run as its README says, in a copy of its folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.documents import Page, shown_machine

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())


def test_examples_are_numbered_without_gaps() -> None:
    numbers = [int(match[1]) for path in EXAMPLES if (match := re.fullmatch(r"(\d\d)_\w+", path.name))]
    assert numbers == list(range(1, len(EXAMPLES) + 1))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.usefixtures("short_contests")
def test_example(example: Path, tmp_path: Path, pages_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label, compare = shown_machine()
    folder = tmp_path / example.name
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns("*.onnx", "*.plan*", "plans", "__pycache__"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(pages_cache))
    monkeypatch.chdir(folder)
    assert Page(folder / "README.md", ROOT, label, compare=compare).run() >= 1


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_script_of_an_example_is_in_its_readme(example: Path) -> None:
    readme = (example / "README.md").read_text(encoding="utf-8")
    assert [script.name for script in example.glob("*.py") if f"python {script.name}" not in readme] == []
