"""Plans and manifests that cannot be inspected or validated."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_inputs.case import BadInput, Files, onnx_file, raw_file
from tests.graph.models import relu
from trtkit.errors import PlanError

__all__ = ["CASES", "tampered_cases"]

ARTIFACT = "model.fp32.onnxruntime.onnx"


def header(magic: bytes, declared: int, actual: int) -> bytes:
    """The start of a plan of that family: magic, declared length, version 1.7.1.116, then zeros."""
    start = magic + bytes(12) + struct.pack("<Q", declared) + bytes((1, 7, 1, 116))
    return start + bytes(actual - len(start))


def _both(name: str, message: str, hint: str, files: Files, file: str = "m.plan") -> tuple[BadInput, BadInput]:
    """The same file given to inspect and to validate."""
    return (
        BadInput(f"inspect {name}", f"inspect {file}", PlanError, message, hint, files),
        BadInput(f"validate {name}", f"validate {file}", PlanError, message, hint, files),
    )


def _plan(content: bytes) -> Files:
    return raw_file(content, "m.plan")


CASES = (
    *_both("missing", r"m\.plan does not exist", "trtkit convert", lambda folder: None),
    *_both("a folder", r"m\.plan is a folder", r"\.plan file inside", lambda folder: (folder / "m.plan").mkdir()),
    *_both("empty", "an empty file", "again", _plan(b"")),
    *_both("garbage", "unknown binary data", ".", _plan(bytes(range(200, 100, -1)))),
    *_both("text", "a text that begins with", ".", _plan(b"this is no plan, but a text of some length\n" * 3)),
    *_both("an ONNX file", "an ONNX model", "trtkit convert", onnx_file(lambda: relu(), "m.plan")),
    *_both("cut in its header", "cut off inside its header: 10 of", "again", _plan(b"vtrt" + bytes(6))),
    BadInput(
        "validate without manifest",
        "validate m.plan",
        PlanError,
        r"m\.plan has no manifest: m\.plan\.json is missing",
        "together",
        _plan(header(b"vtrt", 4096, 4096)),
    ),
    BadInput(
        "validate another family's plan",
        "validate m.plan",
        PlanError,
        "no manifest",
        ".",
        _plan(header(b"ftrt", 4096, 4096)),
    ),
    BadInput(
        "manifest is no JSON",
        "inspect m.plan",
        PlanError,
        r"m\.plan\.json is not readable JSON",
        "again",
        lambda folder: (
            (folder / "m.plan").write_bytes(header(b"vtrt", 4096, 4096)),
            (folder / "m.plan.json").write_text("{"),
        ),
    ),
    BadInput(
        "manifest is a list",
        "validate m.plan",
        PlanError,
        "holds list, not a JSON object",
        "again",
        lambda folder: (
            (folder / "m.plan").write_bytes(header(b"vtrt", 4096, 4096)),
            (folder / "m.plan.json").write_text("[]"),
        ),
    ),
    BadInput(
        "truncated plan with its manifest",
        "inspect m.plan",
        PlanError,
        "truncated .*4096 of 9999 bytes",
        "again",
        lambda folder: (
            (folder / "m.plan").write_bytes(header(b"vtrt", 9999, 4096)),
            (folder / "m.plan.json").write_text('{"schema": 1}'),
        ),
    ),
)


def tampered_cases(built: Path) -> tuple[BadInput, ...]:
    """Cases made from a sound artifact of the onnxruntime family in the folder ``built``, with its manifest."""

    def tampered(edit: Callable[[dict[str, Any]], object]) -> Files:
        def write(folder: Path) -> None:
            shutil.copytree(built, folder, dirs_exist_ok=True)
            path = folder / f"{ARTIFACT}.json"
            manifest = json.loads(path.read_text())
            edit(manifest)
            path.write_text(json.dumps(manifest))

        return write

    def changed_plan(folder: Path) -> None:
        shutil.copytree(built, folder, dirs_exist_ok=True)
        with (folder / ARTIFACT).open("ab") as file:
            file.write(b"\0")

    def without_onnx(folder: Path) -> None:
        shutil.copytree(built, folder, dirs_exist_ok=True)
        (folder / "model.fp32.onnx").unlink()

    return (
        *_both("a changed artifact", "its SHA-256 or size differs", "together", changed_plan, ARTIFACT),
        *_both("a newer manifest", "has schema 99; this trtkit reads", "Update", tampered(_newer), ARTIFACT),
        *_both("an incomplete manifest", "incomplete or was changed", "again", tampered(_incomplete), ARTIFACT),
        BadInput(
            "validate without its ONNX",
            f"validate {ARTIFACT}",
            PlanError,
            r"model\.fp32\.onnx, from which .* is missing",
            "Copy it",
            without_onnx,
        ),
    )


def _newer(manifest: dict[str, Any]) -> None:
    manifest["schema"] = 99


def _incomplete(manifest: dict[str, Any]) -> None:
    del manifest["onnx"]
