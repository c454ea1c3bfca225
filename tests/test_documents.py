"""The reader of the pages is strict itself: what is wrong on a page must fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import Page, blocks, matches


def read(page: str, folder: Path, *, compare: bool = True) -> int:
    path = folder / "page.md"
    path.write_text(page, encoding="utf-8")
    return Page(path, folder, "tensorrt-rtx-1.7", compare=compare).run()


def console(*lines: str) -> str:
    return "\n".join(["```console", *lines, "```", ""])


def test_a_sound_page_is_run(tmp_path: Path) -> None:
    page = console("$ trtkit models", "name parameters …", "alexnet … 60,965,224 …")
    page += "```python\nfrom pathlib import Path\nprint(6 * 7)\n```\n```text\n42\n```\n"
    assert read(page, tmp_path) == 2


@pytest.mark.parametrize(
    "page",
    [
        console("$ trtkit models --fast"),
        console("$ trtkit inspect nothing.plan"),
        console("$ trtkit models", "vgg16"),
        console("$ trtkit inspect nothing.plan", "$ echo $?", "8"),
        console("$ rm -r ."),
        console("# on the machine with the GPU", "$ rm -r ."),
        console("nothing to type"),
        "```sh\ntrtkit models\n```\n",
        "```python\nprint(6 * 7)\n```\n```text\n43\n```\n",
    ],
)
def test_a_wrong_page_fails(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        read(page, tmp_path)


@pytest.mark.parametrize(
    "command", ["trtkit convert alexnet --int9", "trtkit benchmark alexnet", "trtkit convert", "pip install left-pad"]
)
@pytest.mark.parametrize("marker", ["# on the machine with the GPU", "# install"])
def test_checked_commands_are_parsed(command: str, marker: str, tmp_path: Path) -> None:
    with pytest.raises(
        Exception, match=r"No such option|KeyError|benchmark|Missing (argument|parameter)|left-pad|exit code 2"
    ):
        read(console(marker, f"$ {command}"), tmp_path)


def test_a_refusal_may_be_shown(tmp_path: Path) -> None:
    page = console("$ trtkit inspect nothing.plan", "error: nothing.plan does not exist. …", "$ echo $?", "7")
    assert read(page, tmp_path) == 2


def test_whole_numbers_count_and_times_do_not() -> None:
    assert matches("built in 1.3 s, 57 of 57 Conv", "x.plan  built in 799 ms,\n  57 of 57 Conv")
    assert not matches("57 of 57 Conv", "56 of 57 Conv")
    assert matches("tensorrt-rtx 1.7.1.116 …\nerror 0.00047", "tensorrt-rtx 1.6.1.120 builds; error 4.7e-04")
    assert not matches("b … a", "a b")


def test_blocks_know_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```console\n$ trtkit models\n```\n", encoding="utf-8")
    assert [(block.language, block.line) for block in blocks(page)] == [("console", 3)]
