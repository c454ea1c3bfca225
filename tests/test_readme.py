"""The README does what it says: every block is run, every option and every link it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import Page, blocks, known_options, options_of, shown_machine
from trtkit.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("examples/**/*.md"))]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_every_block_runs(tmp_path: Path, pages_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label, compare = shown_machine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(pages_cache))
    monkeypatch.chdir(tmp_path)
    assert Page(README, ROOT, label, compare=compare).run() >= 10


def test_the_two_first_lines_are_the_ones_that_are_promised() -> None:
    console = "".join(block.text for block in blocks(README) if block.language == "console")
    assert "$ pip install . && trtkit convert googlenet\n" in console
    assert "$ pip install '.[dev]' && python -m pytest\n" in console


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_the_text_exist(page: Path) -> None:
    named = {
        option for code in re.findall(r"`([^`\n]+)`", prose(page)) for option in re.findall(r"--[a-z][\w-]*", code)
    }
    others = {"--help", "--check"}  # typer's own, and of ruff format
    assert named - known_options() - others == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose(page)) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_exit_codes_are_those_of_the_error_tree() -> None:
    from trtkit import errors

    rows = dict(re.findall(r"^\| (\d+) \| `?(\w+)", prose(README), flags=re.MULTILINE))
    tree = {cls.exit_code: cls.__name__ for cls in errors.TrtkitError.__subclasses__()}
    assert {int(code): name for code, name in rows.items() if name.endswith("Error")} == tree
    assert {str(errors.EXIT_VERDICT_NO), str(errors.EXIT_INTERRUPTED), "0", "1"} <= set(rows)


def test_files_of_the_repository_that_the_text_names_exist() -> None:
    folders = ("trtkit/", "model_defs/", "tests/", "examples/", "docs/")
    named = [code for page in PAGES for code in re.findall(r"`([\w./]+)`", prose(page)) if code.startswith(folders)]
    assert named
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "command",
    [
        "bench",
        "study",
        "report",
        "compare",
        "calibrate",
        "convert",
        "validate",
        "inspect",
        "export",
        "models",
        "doctor",
    ],
)
def test_help_cuts_no_option_short_on_a_narrow_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")  # typer's own
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in options_of(command) if name.startswith("--") and name not in shown] == []
