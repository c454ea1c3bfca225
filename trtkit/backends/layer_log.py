"""The builder's verbose ``Layers:`` message, read into a :class:`~trtkit.artifacts.layers.LayerReport`.

TensorRT prints it while it builds, when the logger takes VERBOSE messages and the profiling verbosity is DETAILED. It
needs no GPU, which makes it the one proof of what is inside a plan that a CPU-only machine can have. The message is
the inspector's one-line form, one layer a line (two here), with nothing escaped::

    Layers:
    Name: N, LayerType: T, Inputs: [ { Name: x, Dimensions: [-1,3], …, Datatype: Half, Format: F }, { … }],
      Constants: […], Outputs: […], TacticName: K, StreamId: 0, Metadata: [ONNX Layer: a]␟[ONNX Layer: b]

    I/O Tensors:
     …

An ONNX node name may hold anything: commas, brackets, line breaks, the control characters that separate two nodes. So
nothing here counts brackets or splits at commas; every field is found by the vendor's words that surround it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor

__all__ = ["dtype_from_text", "onnx_nodes", "parse"]

_MESSAGE = re.compile(r"(?:\A|[\s\]])Layers:[ \t]*\r?\n(?=Name: )")
_END = re.compile(r"\r?\n\r?\n(?:I/O Tensors|Bindings|Engine Metadata):")
_HEAD = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<kind>[\w.+-]*)(?=, Inputs: \[)", re.DOTALL)
_LIST = re.compile(r", (Inputs|Constants|Outputs): \[")
_TENSOR = re.compile(
    r" ?\{ ?Name: (?P<name>.*?)(?:, Location: \w+)?, Dimensions: \[(?P<shape>[-\d, ]*)\](?P<rest>.*?) ?\}(?=, \{|\])",
    re.DOTALL,
)
_DTYPE = re.compile(r", Datatype: ([^,}]*)")
_FORMAT = re.compile(r", Format(/Datatype)?: (.*)", re.DOTALL)
_TACTIC = re.compile(r", Tactic(?:Name|Value): ([^,\n]*)")

# In this order: BF16 before FP16 and UINT8 before INT8, whose names they contain.
_DTYPES = (
    ("bf16", r"BFLOAT16|BFP16|BF16"),
    ("fp16", r"HALF|FP16|FLOAT16"),
    ("fp8", r"FP8|FLOAT8|E4M3|E5M2"),
    ("fp4", r"FP4|FLOAT4|E2M1"),
    ("e8m0", r"E8M0"),
    ("fp32", r"FP32|FLOAT32|FLOAT\b"),
    ("uint8", r"UINT8"),
    ("int8", r"INT8"),
    ("int4", r"INT4"),
    ("int64", r"INT64"),
    ("int32", r"INT32"),
    ("bool", r"BOOL"),
)
_DTYPE_WORDS = tuple((name, re.compile(rf"\b(?:{words})")) for name, words in _DTYPES)


def dtype_from_text(text: str) -> str | None:
    """Our name of the data type that a vendor's text speaks of, or None.

    ``Half`` and ``Channel major FP16 format where channel % 8 == 0`` both give ``fp16``.
    """
    upper = text.upper()
    return next((name for name, words in _DTYPE_WORDS if words.search(upper)), None)


_END_OF_NODE = r"\](?:__[a-z0-9_]+)?"


def onnx_nodes(metadata: str) -> tuple[str, ...]:
    """The ONNX node names in a layer's metadata, each once, in order.

    Behind a closing bracket the compiler may note what it made of the node: ``[ONNX Layer: a]__gemm_from_conv1x1``.
    TensorRT puts U+001F (between the nodes of a fused layer) or U+001E after each ``[ONNX Layer: name]``; some tools
    that pass the text on lose them, so entries without any separator are told apart too.
    """
    text = metadata.strip("\x1e\x1f\r\n\t ")
    entries = re.split(rf"{_END_OF_NODE}[\x1e\x1f]+(?=\[)", text)
    if len(entries) == 1:
        entries = re.split(rf"{_END_OF_NODE}(?=\[ONNX Layer: )", text)
    entries[-1] = re.sub(rf"{_END_OF_NODE}$", "", entries[-1])
    named = (entry[len("[ONNX Layer: ") :] for entry in entries if entry.startswith("[ONNX Layer: "))
    return tuple(dict.fromkeys(named))


def _tensors(text: str, start: int) -> tuple[tuple[LayerTensor, ...], int]:
    """The tensors of the list that opens just before ``start``, and the place after its closing bracket."""
    found = []
    while (match := _TENSOR.match(text, start)) is not None:
        rest = match["rest"]
        layout = _FORMAT.search(rest)
        dtype = _DTYPE.search(rest)
        words = dtype[1] if dtype else layout[2] if layout and layout[1] else ""
        shape = tuple(int(dim) for dim in match["shape"].split(",") if dim.strip())
        found.append(LayerTensor(match["name"], dtype_from_text(words), shape, layout[2].strip() if layout else None))
        start = match.end() + (1 if text.startswith(",", match.end()) else 0)
    if not text.startswith("]", start):
        # Something that this does not understand stands here: say that there is a tensor of unknown type, so that no
        # conclusion is drawn from those that were understood.
        found.append(LayerTensor("", None))
    closing = text.find("]", start)
    return tuple(found), len(text) if closing < 0 else closing + 1


def _layer(record: str) -> Layer:
    head = _HEAD.match(record)
    assert head is not None  # _records hands over nothing else
    lists: dict[str, tuple[LayerTensor, ...]] = {}
    place = head.end()
    while (opening := _LIST.match(record, place)) is not None:
        lists[opening[1]], place = _tensors(record, opening.end())
    fields, _, metadata = record[place:].partition(", Metadata: ")
    tactic = _TACTIC.search(fields)
    return Layer(
        name=head["name"],
        kind=head["kind"],
        inputs=lists.get("Inputs", ()),
        outputs=lists.get("Outputs", ()),
        onnx_nodes=onnx_nodes(metadata),
        tactic=(tactic[1].strip() or None) if tactic else None,
        constants=lists.get("Constants", ()),
    )


def _records(body: str) -> list[str]:
    """Cut at the lines that begin a layer; a line break inside a name begins none."""
    records: list[str] = []
    for piece in re.split(r"\n(?=Name: )", body):
        if records and (_HEAD.match(piece) is None or ", Metadata: " not in records[-1]):
            records[-1] += "\n" + piece
        else:
            records.append(piece)
    return [record for record in records if _HEAD.match(record)]


def parse(messages: Iterable[str]) -> LayerReport | None:
    """Read the layers out of a build's log messages.

    Args:
        messages: the texts that the vendor's logger was handed, one string a message, in order.

    Returns:
        All layers of all ``Layers:`` messages in order (TensorRT-RTX 1.7 prints one, however many compute
        capabilities it builds for), or None when there is no such message.
    """
    layers: list[Layer] = []
    seen = False
    for message in messages:
        opening = _MESSAGE.search(message)
        if opening is None:
            continue
        seen = True
        body = message[opening.end() :]
        endings = [match.start() for match in _END.finditer(body)]
        layers += [_layer(record) for record in _records(body[: _cut(body, endings)])]
    return LayerReport("builder-log", tuple(layers)) if seen else None


def _cut(body: str, endings: list[int]) -> int:
    """Where the list of layers ends: at the first heading after which no layer begins."""
    last_layer = body.rfind("\nName: ")
    return next((place for place in endings if place > last_layer), len(body))
