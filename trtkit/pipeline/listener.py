"""Who is told what a pipeline is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trtkit.worker import Log, Progress

__all__ = ["Listener", "Moving", "Silence"]


class Listener(Protocol):
    """Who is told what is going on; the command line draws it, tests collect it."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def event(self, event: Progress | Log) -> None:
        """A worker reports."""

    def note(self, text: str) -> None:
        """Something that the user should know, a sentence."""


class Silence:
    """A listener that listens to nothing: the default of the Python API."""

    def stage(self, title: str) -> None:
        """See :class:`Listener`."""

    def event(self, event: Progress | Log) -> None:
        """See :class:`Listener`."""

    def note(self, text: str) -> None:
        """See :class:`Listener`."""


class Moving:
    """A listener that shows a watchdog that the caller moves, and passes everything on.

    Args:
        to: who is told.
        moved: called each time before.
    """

    def __init__(self, to: Listener, moved: Callable[[], None]) -> None:
        self._to, self._moved = to, moved

    def stage(self, title: str) -> None:
        """See :class:`Listener`."""
        self._moved()
        self._to.stage(title)

    def event(self, event: Progress | Log) -> None:
        """See :class:`Listener`."""
        self._moved()
        self._to.event(event)

    def note(self, text: str) -> None:
        """See :class:`Listener`."""
        self._moved()
        self._to.note(text)
