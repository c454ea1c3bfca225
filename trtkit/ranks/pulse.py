"""What a rank's main thread shows of itself: a step that it has begun, and that it still moves in it."""

from __future__ import annotations

import time

from trtkit.units import seconds_text

__all__ = ["LONG_S", "Pulse"]

LONG_S = 1800.0
"""Longest silence in a step that nobody can look into: conversion, loading, just-in-time compilation."""


class Pulse:
    """Written by the main thread, read by the one that sends heartbeats: these would go on though the former hangs."""

    def __init__(self) -> None:
        self._step: tuple[str, float] = ("preparing", LONG_S)
        self._moved_s = time.monotonic()

    def begin(self, doing: str, silence_s: float = LONG_S) -> None:
        """From now on the main thread is doing this, and shows at least so often that it moves."""
        self._step = (doing, silence_s)
        self.move()

    def move(self) -> None:
        """The main thread moves."""
        self._moved_s = time.monotonic()

    def stuck(self) -> str | None:
        """What is to be said of a main thread that shows nothing for too long; ``None`` while it is well."""
        (doing, silence_s), still_s = self._step, time.monotonic() - self._moved_s
        if still_s <= silence_s:
            return None
        return f"its main thread hangs: nothing for {seconds_text(still_s)} while {doing}"
