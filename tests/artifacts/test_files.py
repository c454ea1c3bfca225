"""Nobody sees half of an artifact: scratch files, staging folders, publishing, and JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trtkit.artifacts import files
from trtkit.errors import PlanError, UsageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX process ids and permissions")
mortal = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", "pass"]) as process:
        process.wait()
    return process.pid


def test_hashes_agree_with_hashlib(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    path = tmp_path / "data"
    path.write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert files.sha256_bytes(data) == files.sha256_bytes(memoryview(data)) == files.sha256_file(path) == expected


def test_the_hash_of_json_does_not_know_the_order_of_keys() -> None:
    assert files.sha256_json({"a": 1, "b": [2, None]}) == files.sha256_json({"b": [2, None], "a": 1})
    assert files.sha256_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert files.sha256_json([1, 2]) != files.sha256_json([2, 1])


def test_atomic_path_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "new" / "deep" / "m.plan"
    with files.atomic_path(final) as scratch:
        assert (scratch.parent, scratch.suffix, scratch.name[0]) == (final.parent, ".plan", ".")
        scratch.write_bytes(b"half")
        assert not final.exists()
    assert final.read_bytes() == b"half"
    assert _names(final.parent) == ["m.plan"]


def test_scratch_names_are_new_each_time(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "m") as one, files.atomic_path(tmp_path / "m") as two:
        assert one != two


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_path_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    final = tmp_path / "m.plan"
    final.write_bytes(b"older")
    with pytest.raises(failure), files.atomic_path(final) as scratch:
        scratch.write_bytes(b"half")
        raise failure
    assert _names(tmp_path) == ["m.plan"]
    assert final.read_bytes() == b"older"


def test_atomic_path_over_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"), files.atomic_path(tmp_path):
        pytest.fail("the body must not run")


def _links(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for name, target in (
        ("to a pipe", "pipe"),
        ("to a file", "results/t.csv"),
        ("to a link", "to a file"),
        ("to an open file", "/proc/self/fd/1"),
        ("circle", "circle"),
    ):
        (folder / name).symlink_to(target)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux")
@pytest.mark.parametrize("name", ["pipe", "to a pipe", "to an open file", "circle"])
def test_what_is_no_regular_file_is_not_replaced(name: str, tmp_path: Path) -> None:
    _links(tmp_path)
    before = (tmp_path / name).lstat()
    with pytest.raises(UsageError, match=f"{name} is no regular file"), files.atomic_path(tmp_path / name):
        pass
    with files.staging(tmp_path) as staged:
        (staged / name).write_bytes(b"x")
        with pytest.raises(UsageError, match=f"{name} is no regular file"):
            files.publish(staged, tmp_path, last="")
    with pytest.raises(UsageError, match=f"--csv .*{name} is no regular file"):
        files.real_file(tmp_path / name, f"--csv {tmp_path / name}")
    assert (tmp_path / name).lstat() == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux")
def test_links_lead_to_the_file_that_they_stand_for(tmp_path: Path) -> None:
    _links(tmp_path)
    target = tmp_path / "results" / "t.csv"
    assert files.real_file(tmp_path / "to a link") == target, "it need not be there"
    files.write_bytes(target, b"1")
    assert files.real_file(tmp_path / "to a file") == files.real_file(target) == target
    assert files.real_file(Path("/proc/self/cwd") / "new.csv") == Path.cwd() / "new.csv"


def test_atomic_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match=r"Cannot write to the folder .*taken") as caught:
        files.write_bytes(tmp_path / "taken" / "m.plan", b"x")
    assert "--output" in caught.value.hint


@posix
@mortal
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            files.write_bytes(tmp_path / "m", b"x")
        with pytest.raises(UsageError, match="Permission denied"), files.staging(tmp_path):
            pytest.fail("the body must not run")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "m.json"
    files.write_json(path, {"older": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_json(path, {"newer": 2})
    assert caught.value.filename == str(path)
    assert files.read_json(path) == {"older": 1}
    assert _names(tmp_path) == ["m.json"]


def test_staging_and_publish(tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(b"older")
    with files.staging(tmp_path) as staged:
        assert staged.parent == tmp_path and staged.name.startswith(".")
        (staged / "a.plan").write_bytes(b"newer")
        (staged / "b.onnx").write_bytes(b"onnx")
        (staged / "scratch").mkdir()
        assert (tmp_path / "a.plan").read_bytes() == b"older"
        files.publish(staged, tmp_path, last="a.plan")
    assert _names(tmp_path) == ["a.plan", "b.onnx"]
    assert (tmp_path / "a.plan").read_bytes() == b"newer"


def test_publish_moves_the_named_file_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    replace = Path.replace

    def record(self: Path, target: Path) -> Path:
        moved.append(self.name)
        return replace(self, target)

    with files.staging(tmp_path) as staged:
        for name in ("c", "a.json", "b"):
            (staged / name).touch()
        monkeypatch.setattr(Path, "replace", record)
        files.publish(staged, tmp_path, last="a.json")
    assert moved == ["b", "c", "a.json"]


def test_publish_moves_nothing_where_a_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with files.staging(tmp_path) as staged:
        (staged / "a").touch()
        (staged / "b").touch()
        with pytest.raises(UsageError, match="is a folder"):
            files.publish(staged, tmp_path, last="a")
        assert _names(staged) == ["a", "b"]
    assert _names(tmp_path) == ["b"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_staging_is_removed_whatever_happens(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), files.staging(tmp_path / "out") as staged:
        (staged / "inner").mkdir()
        (staged / "inner" / "half").touch()
        raise failure
    assert _names(tmp_path) == []


def test_folders_made_for_staging_go_again_unless_something_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="bad"), files.staging(tmp_path / "mine"):
        raise ValueError("bad")
    assert _names(tmp_path) == ["mine"]  # it was there before
    with pytest.raises(ValueError, match="bad"), files.staging(tmp_path / "new" / "deep"):
        (tmp_path / "new" / "checkpoint").touch()
        raise ValueError("bad")
    assert _names(tmp_path / "new") == ["checkpoint"]
    with files.staging(tmp_path / "out") as staged:
        (staged / "a").touch()
        files.publish(staged, tmp_path / "out", last="a")
    assert _names(tmp_path / "out") == ["a"]


def test_staging_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match="Cannot write to the folder"), files.staging(tmp_path / "taken"):
        pytest.fail("the body must not run")


def test_a_failing_write_among_staged_files_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as caught, files.staging(tmp_path / "plans"):
        raise OSError(errno.EFBIG, "File too large")
    assert caught.value.filename == str(tmp_path / "plans")


def test_windows_is_not_asked_by_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """``os.kill(pid, 0)`` would end the other process there."""
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a process would have been ended"))
    monkeypatch.setattr(os, "name", "nt")
    assert files._alive(os.getppid())


@posix
def test_the_sweep_takes_only_what_the_dead_left(tmp_path: Path) -> None:
    dead = tmp_path / f".trtkit-{_dead_pid()}-0badcafe"
    alive = tmp_path / f".trtkit-{os.getppid()}-0badcafe"
    users = tmp_path / ".trtkit-notes-2"
    for folder in (dead, alive, users):
        folder.mkdir()
        (folder / "file").touch()
    (tmp_path / "m.plan").touch()
    with files.staging(tmp_path) as mine:
        assert mine.is_dir()
        assert _names(tmp_path) == sorted([alive.name, users.name, mine.name, "m.plan"])
    assert (alive / "file").exists() and (users / "file").exists()


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"größe": [1, 2.5, None], "b": {"c": True}}
    files.write_json(tmp_path / "v.json", value)
    text = (tmp_path / "v.json").read_text(encoding="utf-8")
    assert "größe" in text and text.endswith("}\n")
    assert files.read_json(tmp_path / "v.json") == value == json.loads(text)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_word_for_nan(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "v.json", {"a": number})
    assert _names(tmp_path) == []


def test_lists_of_numbers_stand_on_one_line_and_nothing_else_changes(tmp_path: Path) -> None:
    value = {
        "samples": {"ms": [0.25, -1, 1e-9, 3e300], "none": [], "one": [7]},
        "mixed": [1, "a", None, True],
        "nested": [[1, 2], [3.5]],
        "text": ["[\n  1,\n  2\n]", "1, 2"],
    }
    files.write_json(tmp_path / "v.json", value)
    text = (tmp_path / "v.json").read_text()
    assert json.loads(text) == value and '"ms": [0.25, -1, 1e-09, 3e+300],' in text
    assert '"one": [7]' in text and "    [1, 2],\n    [3.5]\n" in text and '    "a",\n' in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable JSON"),
        (b'{"a": 1', "not readable JSON"),
        (b"\xff\xfe\x00", "not readable JSON"),
        (b"[1, 2]", "holds list, not a JSON object"),
        (b"null", "holds NoneType, not a JSON object"),
    ],
)
def test_files_that_are_no_json_object(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=message) as caught:
        files.read_json(path)
    assert str(path) in caught.value.message and caught.value.hint


def test_json_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none\.json does not exist"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(PlanError, match="not readable JSON"):
        files.read_json(tmp_path)


def test_json_ready_is_what_json_gives_back() -> None:
    value = {"a": (1, [2, (3,)]), "b": {"c": ()}, "d": None, "e": "text"}
    assert files.json_ready(value) == json.loads(json.dumps(value)) == {**value, "a": [1, [2, [3]]], "b": {"c": []}}
