"""A look that is started before it is needed: its answer is taken once, and nobody is left behind."""

from __future__ import annotations

import os
import signal

import pytest

from trtkit.backends import probing, registry
from trtkit.errors import BackendUnavailableError

looking = probing.looking  # before tests/conftest.py replaces it


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_next_probe_takes_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "worker", None)  # a second worker would need it
    with looking("null"):
        early = probing._early["null"]
        assert probing.probe("null").family == "null"
        assert probing._early == {} and not _alive(early.pid)


def test_an_answer_that_nobody_wants_ends_with_the_command() -> None:
    with looking("null"):
        early = probing._early["null"]
    assert probing._early == {} and not _alive(early.pid)


def test_auto_starts_with_the_family_that_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PREFERENCE", ("tensorrt", "null"))
    monkeypatch.setattr(probing, "_MODULES", {"tensorrt": "no_such_module"})
    with looking("auto"):
        assert list(probing._early) == ["null"]


def test_a_look_that_is_killed_is_told_as_ever() -> None:
    with looking("null"):
        os.kill(probing._early["null"].pid, signal.SIGKILL)
        with pytest.raises(BackendUnavailableError, match="the look at the null family"):
            probing.probe("null")
