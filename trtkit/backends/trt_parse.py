"""What TensorRT's ONNX parser refused, in words: which node, which types, and why; its own text goes into the log."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.backends.trt_log import LogBook
from trtkit.errors import ModelError, TrtkitError

if TYPE_CHECKING:
    import onnx

__all__ = ["parse_error"]

_NODE = re.compile(
    r"node (?:\d+ )?with name: (?P<name>.*?) and operator: (?P<op>\w+)"
)  # one line, TensorRT 10 and newer
_NODE_OP = re.compile(r"While parsing node number \d+ \[(?P<op>\w+)")  # one message each, all versions
_NODE_NAME = re.compile(r"^Node name: (?P<name>.*)$", re.MULTILINE)
_REASON = re.compile(r"ERROR: (?P<reason>.*)", re.DOTALL)
_UNSUPPORTED = re.compile(r"\[8\] ?|UNSUPPORTED_NODE\b")  # ErrorCode.UNSUPPORTED_NODE
_PLACE = re.compile(r"^\S+\.(?:cpp|h):\d+ In function \w+: (?:\[\d+\] )?(?:Assertion failed: )?")
_QUOTED = re.compile(r'"([^"]*)"')
# Words of the parser that mean nothing to who wrote a model, and what they mean.
_MEANINGS = (
    (r"plugin.*not found|Plugin not found", "it has no implementation of this operator"),
    (r"(?i)data ?type|\b(U?INT|FLOAT|BFLOAT)\d+ types?\b", "it does not support this operator with these data types"),
)


def parse_error(book: LogBook, text: str, vendor: str, onnx: Path) -> TrtkitError:
    """The vendor's ONNX parser said no: a :class:`ModelError` that names the node where the log does.

    Args:
        book: the log of the attempt.
        text: the exception's text.
        vendor: the library's name and version, for people.
        onnx: the model's file; it is read for the data types of the node.
    """
    reasons = [" ".join(match["reason"].split()) for match in map(_REASON.search, book.errors) if match]
    reasons = list(dict.fromkeys(reasons))
    match = _NODE.search(book.everything)
    name, op = match or _NODE_NAME.search(book.everything), match or _NODE_OP.search(book.everything)
    facts = [f"operator {op['op']}"] if op else []
    if name and op:
        facts += [types for types in [_types(onnx, name["name"], op["op"])] if types]
    node = f" at node {name['name']!r}" if name else ""
    node += f" ({', '.join(facts)})" if facts else ""
    if reasons:
        said, log = _in_words(reasons), tuple(reasons)
    else:
        said, log = book.last_errors() or " ".join(text.split())[:600], tuple(book.errors[-10:])
    return ModelError(
        f"{vendor} cannot parse {onnx.name}{node}: {said}",
        hint="Replace or remove what the message names, or use --family onnxruntime for this model; --verbose shows "
        "what the parser says.",
        log=log,
    )


def _in_words(reasons: list[str]) -> str:
    """The parser's reasons without its sources, conditions and codes."""
    raw = "\n".join(reasons)
    meaning = next((words for sign, words in _MEANINGS if re.search(sign, raw)), None)
    unsupported = "it does not support this operator in this form" if _UNSUPPORTED.search(raw) else ""
    told = []
    for reason in reasons:
        plain = _PLACE.sub("", reason)
        quoted = _QUOTED.findall(plain.rpartition("&&")[2])
        _, colon, behind = plain.partition(": ")
        if "&&" in plain and quoted:
            told.append(" ".join("".join(quoted).split()))
        elif "Assertion failed: " in reason and colon:  # behind the condition
            told.append(behind)
        elif " " in plain:  # else a bare condition, such as "false"
            told.append(plain)
    why = "; ".join(dict.fromkeys(text.rstrip("!. ") for text in told))
    parts = [part for part in (meaning or unsupported, why) if part]
    return ": ".join(parts)[:600]


def _types(onnx_file: Path, name: str, op: str) -> str:
    """``float32 → uint16``: the data types that a node of the main graph takes and gives, as far as they are known."""
    import onnx

    with contextlib.suppress(Exception):  # this is a detail of a message that must appear whatever the model is like
        model = onnx.load(str(onnx_file), load_external_data=False)
        nodes = [node for node in model.graph.node if node.name == name and node.op_type == op]
        if len(nodes) == 1:
            known = _known_types(model)
            ends = (nodes[0].input, nodes[0].output)
            return " → ".join(", ".join(known.get(name, "unknown") for name in end if name) for end in ends)
    return ""


def _known_types(model: onnx.ModelProto) -> dict[str, str]:
    from trtkit.graph.rewrites.inferred import inferred
    from trtkit.graph.tree import type_text

    return {name: type_text(kind) for name, kind in inferred(model)[1].items()}
