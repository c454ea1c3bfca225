"""The error tree: exit codes as its docstring draws them, and the way across a process boundary."""

from __future__ import annotations

import json
import pickle
import re
import traceback

import pytest

from trtkit import errors
from trtkit.errors import TrtkitError, UsageError, from_wire

CLASSES = sorted(TrtkitError.__subclasses__(), key=lambda cls: cls.exit_code)


def test_the_tree_is_what_the_docstring_draws() -> None:
    drawn = {name: int(code) for name, code in re.findall(r"[├└]── (\w+) +(\d+) ", errors.__doc__ or "")}
    assert drawn == {cls.__name__: cls.exit_code for cls in CLASSES}
    assert list(drawn.values()) == [2, 3, 4, 5, 6, 7, 8]


def test_the_other_exit_codes_are_free() -> None:
    taken = {cls.exit_code for cls in CLASSES}
    assert (errors.EXIT_VERDICT_NO, errors.EXIT_INTERRUPTED) == (9, 130)
    assert errors.EXIT_READER_LEFT == 128 + 13  # as a shell says it of SIGPIPE
    assert not taken & {0, 1, errors.EXIT_VERDICT_NO, errors.EXIT_INTERRUPTED, errors.EXIT_READER_LEFT}
    assert f"Exit code {errors.EXIT_VERDICT_NO} is no error" in (errors.__doc__ or "")


def test_every_class_is_public_and_described() -> None:
    for cls in CLASSES:
        assert cls.__name__ in errors.__all__
        assert cls.__doc__ and cls.__doc__ != TrtkitError.__doc__
        assert not cls.__subclasses__(), "from_wire knows one level only"


@pytest.mark.parametrize("cls", CLASSES)
def test_through_json_to_another_process(cls: type[TrtkitError]) -> None:
    error = cls("the file 'größe [1].onnx' is cut", hint="Make it again.", log=("first", "last"))
    again = from_wire(json.loads(json.dumps(error.to_wire())))
    assert type(again) is cls
    assert (again.message, again.hint, again.log) == (error.message, error.hint, ("first", "last"))
    assert str(again) == error.message


@pytest.mark.parametrize("cls", CLASSES)
def test_through_pickle(cls: type[TrtkitError]) -> None:
    again = pickle.loads(pickle.dumps(cls("m", hint="h", log=("l",))))
    assert type(again) is cls
    assert (again.message, again.hint, again.log, again.args) == ("m", "h", ("l",), ("m",))


def test_an_uncaught_error_ends_with_its_hint() -> None:
    shown = "".join(traceback.format_exception(UsageError("m", hint="Write this.")))
    assert shown.splitlines()[-2:] == ["trtkit.errors.UsageError: m", "hint: Write this."]


def test_a_wire_without_a_log() -> None:
    assert from_wire({"type": "UsageError", "message": "m", "hint": "h"}).log == ()


def test_an_unknown_type_is_a_bug() -> None:
    with pytest.raises(KeyError, match="ZeroDivisionError"):
        from_wire({"type": "ZeroDivisionError", "message": "m", "hint": "h"})


def test_an_error_needs_a_way_out() -> None:
    with pytest.raises(TypeError, match="hint"):
        UsageError("m")  # type: ignore[call-arg]
