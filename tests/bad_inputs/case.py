"""What a bad input is: files to write, a command line to run, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from trtkit import errors

__all__ = ["BadInput", "Files", "onnx_file", "raw_file"]

Files = Callable[[Path], object]
"""Writes what a case needs into an empty folder, which is the current folder while the command runs."""


@dataclass(frozen=True)
class BadInput:
    """One bad input.

    Attributes:
        name: unique, for the test's name.
        command: the words after ``trtkit``.
        error: the class of the error, which decides the exit code.
        message: regular expression to be found in the message.
        hint: regular expression to be found in the hint.
        files: writes the input files.
    """

    name: str
    command: str
    error: type[errors.TrtkitError]
    message: str
    hint: str = "."
    files: Files = lambda folder: None


def onnx_file(build: Callable[[], onnx.ModelProto], name: str = "model.onnx") -> Files:
    """A file with this model."""
    return lambda folder: (folder / name).write_bytes(build().SerializeToString())


def raw_file(content: bytes, name: str = "model.onnx") -> Files:
    """A file with these bytes."""
    return lambda folder: (folder / name).write_bytes(content)
