"""Who is told what a pipeline is doing."""

from __future__ import annotations

from typing import Protocol

from trtkit.worker import Log, Progress

__all__ = ["Listener"]


class Listener(Protocol):
    """Who is told what is going on; the command line draws it, tests collect it."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def event(self, event: Progress | Log) -> None:
        """A worker reports."""

    def note(self, text: str) -> None:
        """Something that the user should know, a sentence."""
