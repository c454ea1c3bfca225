"""What a file is by its first bytes, so that an error can say "this is a zip archive" instead of "parse error"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileType", "recognize"]

_HEAD = 4096


@dataclass(frozen=True)
class FileType:
    """A recognized file format.

    Attributes:
        what: the format in words, with its article: ``a safetensors file``.
        hint: how to come from such a file to an ONNX model, one sentence in the imperative.
    """

    what: str
    hint: str


_EXPORT = "Export the network to ONNX first (PyTorch: torch.onnx.export), and give that .onnx file."
_BUILT = "Give the .onnx file it was built from; a plan holds no ONNX graph."
_AGAIN = "Download or copy the file again, and look at it: it should begin with binary data."

# (offset, bytes, format). The first match wins, so the longer signatures of a family come first.
_MAGIC: tuple[tuple[int, bytes, FileType], ...] = (
    (0, b"ftrt", FileType("a TensorRT plan", _BUILT)),
    (0, b"vtrt", FileType("a TensorRT-RTX plan", _BUILT)),
    (0, b"\x89HDF\r\n\x1a\n", FileType("an HDF5 file (Keras weights or model)", "Convert it with tf2onnx first.")),
    (4, b"TFL3", FileType("a TensorFlow Lite model", "Convert it with tf2onnx --tflite first.")),
    (4, b"ORTM", FileType("a model in ONNX Runtime's .ort format", "Give the .onnx file it was made from.")),
    (0, b"GGUF", FileType("a GGUF file", _EXPORT)),
    (0, b"\x93NUMPY", FileType("a NumPy array (.npy)", _EXPORT)),
    (0, b"\x1f\x8b", FileType("a gzip archive", "Unpack it first: gunzip FILE.")),
    (0, b"BZh", FileType("a bzip2 archive", "Unpack it first: bunzip2 FILE.")),
    (0, b"\xfd7zXZ\x00", FileType("an xz archive", "Unpack it first: unxz FILE.")),
    (0, b"(\xb5/\xfd", FileType("a Zstandard archive", "Unpack it first: unzstd FILE.")),
    (257, b"ustar", FileType("a tar archive", "Unpack it first: tar -xf FILE.")),
    (0, b"\x7fELF", FileType("an ELF program or library", "Give an .onnx file.")),
    (0, b"MZ", FileType("a Windows program or library", "Give an .onnx file.")),
    (0, b"\x89PNG", FileType("a PNG image", "Give an .onnx file.")),
    (0, b"\xff\xd8\xff", FileType("a JPEG image", "Give an .onnx file.")),
    (0, b"%PDF", FileType("a PDF document", "Give an .onnx file.")),
    (
        0,
        b"version https://git-lfs",
        FileType("a Git LFS pointer, not the file it points to", "Fetch it: git lfs pull."),
    ),
)


def recognize(path: Path) -> FileType | None:
    """The format of the file at ``path`` where it is certainly no ONNX protobuf, else ``None`` (ONNX, or unknown
    bytes).

    Raises:
        OSError: the file cannot be opened or read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for offset, magic, found in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return found
    if head.startswith(b"PK\x03\x04"):
        return _zip(head)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return FileType("a Python pickle (a PyTorch checkpoint in the old format?)", _EXPORT)
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return FileType("a safetensors file", _EXPORT + " For a model definition, give this file to --weights.")
    return _text(head)


def _zip(head: bytes) -> FileType:
    if b"data.pkl" in head or b"/version" in head or b".data/" in head:
        return FileType("a PyTorch checkpoint (.pt, a zip archive)", _EXPORT)
    if b".npy" in head[:200]:
        return FileType("a NumPy archive (.npz)", _EXPORT + " For a model definition, give this file to --weights.")
    return FileType("a zip archive", "Unpack it first: unzip FILE.")


def _text(head: bytes) -> FileType | None:
    """Text of any kind. An ONNX file always holds control bytes within its first few hundred bytes."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # otherwise the cut at _HEAD went through a character
            return None
        text = head[: error.start].decode("utf-8")
    if not text or any(ord(c) < 32 and c not in "\t\n\r\f" for c in text):
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html")):
        return FileType("an HTML page (an error or login page instead of the download?)", _AGAIN)
    if start.startswith(("<?xml", "<net ", "<net>")):
        return FileType("an XML document", "Give an .onnx file; an OpenVINO model cannot be converted back.")
    if start.startswith(("{", "[")):
        return FileType("a JSON document", "Give an .onnx file.")
    if start.startswith(("ir_version:", "< ir_version", "<ir_version", "<\nir_version")):
        return FileType("an ONNX model written as text", "Save it as binary protobuf: onnx.save(model, 'FILE.onnx').")
    return FileType(f"a text file that begins with {text.strip()[:40]!r}", _AGAIN)
