"""The first 64 bytes of a plan: which family and version made it, and whether it is all there.

No vendor library and no GPU are needed. The layouts, little-endian, as measured and as NVIDIA's sampleEngines.cpp
(``printPlanVersion``) reads them:

=============  ==========  =================================  ==========================================
family         bytes 0-3   bytes 24-27                        bytes 16-23
=============  ==========  =================================  ==========================================
tensorrt       ``ftrt``    major, minor, patch, build         not known to be a length
tensorrt-rtx   ``vtrt``    major, minor, patch, build         length of the whole file in bytes
null           the line ``trtkit-null-plan``, then JSON
=============  ==========  =================================  ==========================================
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from trtkit.errors import PlanError

__all__ = ["HEADER_BYTES", "PlanFamily", "PlanHeader", "read_header"]

HEADER_BYTES = 64
"""How much of the file is read (``Runtime.engine_header_size`` of TensorRT-RTX)."""

PlanFamily = Literal["tensorrt", "tensorrt-rtx", "null"]

_FAMILIES: dict[bytes, PlanFamily] = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_NULL_MAGIC = b"trtkit-null-plan\n"

# Longest first where one begins like another; (offset, bytes there, what the file is, the way out).
_REBUILD = "Give a plan, or build one with trtkit convert."
_KNOWN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer: the plan itself was not downloaded", "Run git lfs pull."),
    (0, b"/annex/objects/", "a git-annex pointer: the plan itself was not downloaded", "Run git annex get."),
    (0, b"PK\x03\x04", "a zip archive (such as .npz, .pt or .keras)", _REBUILD),
    (0, b"\x1f\x8b", "a gzip archive", "Unpack it first with gunzip."),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it first with zstd -d."),
    (0, b"\x89HDF\r\n", "an HDF5 file (such as Keras weights)", _REBUILD),
    (0, b"\x7fELF", "an ELF program or library", _REBUILD),
    (0, b"\x80\x02", "a Python pickle", _REBUILD),
    (0, b"\x80\x04", "a Python pickle", _REBUILD),
    (4, b"ORTM", "an ONNX Runtime model (.ort)", _REBUILD),
    (4, b"TFL3", "a TensorFlow Lite model", _REBUILD),
    (0, b"TRT-", "a TensorRT calibration cache", "Give it to trtkit calibrate --from-trt-cache, and a plan here."),
)


@dataclass(frozen=True)
class PlanHeader:
    """What a plan's first bytes say.

    Attributes:
        family: the engine family that made it.
        version: ``major.minor.patch.build`` of that family's library; None for the null family.
        declared_bytes: length of the whole file as the header states it; None where no header field is known to.
        actual_bytes: length of the file on the disk.
    """

    family: PlanFamily
    version: str | None
    declared_bytes: int | None
    actual_bytes: int

    @property
    def truncated(self) -> bool | None:
        """Whether the file is shorter than it should be; None where the header does not tell."""
        return None if self.declared_bytes is None else self.actual_bytes < self.declared_bytes

    @property
    def surplus_bytes(self) -> int | None:
        """Bytes after the declared end (something was appended); None where the header does not tell."""
        return None if self.declared_bytes is None else max(0, self.actual_bytes - self.declared_bytes)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; ``truncated`` goes along for readers of the file."""
        return {**asdict(self), "truncated": self.truncated}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PlanHeader:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: the family is none of those known.
        """
        if value["family"] not in get_args(PlanFamily):
            raise ValueError(f"plan family {value['family']!r} is none of {', '.join(get_args(PlanFamily))}")
        return cls(value["family"], value["version"], value["declared_bytes"], value["actual_bytes"])


def read_header(path: Path) -> PlanHeader:
    """Read family, version and length from the first 64 bytes.

    Raises:
        PlanError: the file is missing, unreadable, cut off inside the header, or no plan; the message says what it
            looks like instead.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            size = file.seek(0, 2)
            return _header(path, head, size, file)
    except FileNotFoundError as error:
        raise PlanError(f"{path} does not exist.", hint="Give the path of a plan that trtkit convert wrote.") from error
    except IsADirectoryError as error:
        raise PlanError(f"{path} is a folder, not a plan.", hint="Give the .plan file inside it.") from error
    except OSError as error:
        raise PlanError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the file's permissions and its disk."
        ) from error


def _header(path: Path, head: bytes, size: int, file: BinaryIO) -> PlanHeader:
    if head.startswith(_NULL_MAGIC):
        return PlanHeader("null", None, None, size)
    family = _FAMILIES.get(head[:4])
    if family is None:
        looks, hint = _looks_like(head, size, file)
        raise PlanError(f"{path} is no TensorRT plan: it looks like {looks}.", hint=hint)
    if len(head) < HEADER_BYTES:
        raise PlanError(
            f"{path} is a {family} plan cut off inside its header: {size} of at least {HEADER_BYTES} bytes are there.",
            hint="Copy or build it again.",
        )
    version = ".".join(str(part) for part in head[24:28])
    declared = struct.unpack_from("<Q", head, 16)[0] if family == "tensorrt-rtx" else None
    return PlanHeader(family, version, declared, size)


def _looks_like(head: bytes, size: int, file: BinaryIO) -> tuple[str, str]:
    """What a file that is no plan is, and the way out."""
    if not head:
        return "an empty file", "Copy or build it again."
    for offset, magic, what, hint in _KNOWN:
        if head.startswith(magic, offset):
            return what, hint
    if head[4:5] == b"{":
        return _prefixed(head, size, file)
    if head[8:9] == b"{" and 0 < struct.unpack_from("<Q", head)[0] < size:
        return "a safetensors file (weights alone)", "Give it to trtkit convert with --weights, and a plan here."
    if not head.strip(b"\x00"):
        return "zeros (a download or copy that never finished)", "Copy or build it again."
    text = _text(head)
    if text is not None:
        return _text_kind(text)
    # An ONNX ModelProto: field 1 (ir_version, a small varint), then another field of the message.
    if len(head) > 2 and head[0] == 0x08 and head[1] < 0x40 and head[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42):
        return "an ONNX model", "Build a plan of it with trtkit convert."
    return f"unknown binary data (it begins with {head[:8].hex(' ')})", _REBUILD


def _prefixed(head: bytes, size: int, file: BinaryIO) -> tuple[str, str]:
    """A JSON text after a 4-byte length: Ultralytics puts such metadata before the engine in its .engine files."""
    start = 4 + struct.unpack_from("<I", head)[0]
    file.seek(min(start, size))
    magic = file.read(4)
    behind = _FAMILIES.get(magic)
    what = "an .engine file as Ultralytics writes it: a 4-byte length and JSON metadata stand before the engine"
    if behind is None:
        return f"{what}, and what follows them is no plan", _REBUILD
    return (
        f"{what}, a {behind} plan that begins at byte {start}",
        f"Cut the metadata off: tail -c +{start + 1} FILE.engine > FILE.plan",
    )


def _text(head: bytes) -> str | None:
    """The bytes as text, or None; a character cut in two at the end is forgiven."""
    for cut in range(4):
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return text if all(char.isprintable() or char in "\r\n\t\ufeff" for char in text) else None
    return None


def _text_kind(text: str) -> tuple[str, str]:
    begin = text.lstrip("\ufeff \r\n\t").lower()
    if begin.startswith(("<!doctype html", "<html")):
        return "an HTML page (a download that led to a login or an error page)", "Download it again, signed in."
    if begin.startswith("<?xml"):
        return "an XML text", _REBUILD
    if begin.startswith("{"):
        return "a JSON text", "Give the .plan file; its .plan.json manifest lies beside it."
    return f"a text that begins with {json.dumps(text[:24], ensure_ascii=False)}", _REBUILD
