from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.backends.layer_samples import NAMES, sample
from trtkit.artifacts.layers import Layer, LayerTensor
from trtkit.backends.layer_log import dtype_from_text, onnx_nodes, parse


def layers_of(name: str) -> tuple[Layer, ...]:
    report = parse(["Some other message", sample(name).message, "Layers: 3"])
    assert report is not None
    assert report.source == "builder-log"
    return report.layers


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_recorded_message_is_read_completely(name: str) -> None:
    message = sample(name).message
    layers = layers_of(name)
    assert len(layers) == len(re.findall(r", LayerType: \w+, Inputs: \[", message))
    tensors = [t for layer in layers for t in (*layer.inputs, *layer.constants, *layer.outputs)]
    assert len(tensors) == message.count("Datatype: ") - message.count("Format/Datatype: ")
    assert all(t.dtype and t.shape is not None and t.format for t in tensors)


@pytest.mark.parametrize("name", NAMES)
def test_every_weighted_node_of_a_recorded_network_is_carried_by_a_layer(name: str) -> None:
    carried = {node for layer in layers_of(name) for node in layer.onnx_nodes}
    weighted = {node for node, op in sample(name).nodes if op in ("Conv", "ConvTranspose", "Gemm", "MatMul")}
    assert weighted <= carried


def test_a_quantized_convolution_field_by_field() -> None:
    (conv,) = [layer for layer in layers_of("int8") if layer.name.startswith("conv2")]
    assert conv.kind == "correlation"
    assert [(t.dtype, t.shape, t.format) for t in conv.inputs] == [
        ("int8", (-1, 16, 16, 16), "(NHWC) Channel major format")
    ]
    assert [(t.dtype, t.shape) for t in conv.constants] == [
        ("int8", (32, 16, 3, 3)),
        ("fp32", (1, 32, 1, 1)),
        ("fp32", (1, 32, 1, 1)),
    ]
    assert [(t.dtype, t.shape) for t in conv.outputs] == [("fp32", (-1, 32, 16, 16))]
    assert conv.onnx_nodes == ("conv2", "t4_dq", "w2_dqn")
    assert conv.tactic == "__myelin_CASK_STUB"
    assert conv.dtype == "int8"


def test_a_format_with_brackets_and_an_empty_tactic_are_read() -> None:
    layers = layers_of("four_capabilities_fp32")
    assert any("stride order = [0,3,2,1]" in str(t.format) for layer in layers for t in layer.outputs)
    assert layers[0].kind == "shape_call"
    assert layers[0].tactic is None


def test_odd_node_names_come_out_as_they_went_in() -> None:
    carried = [layer.onnx_nodes for layer in layers_of("odd_names") if layer.onnx_nodes]
    assert ("conv [1], {a: b}", "层/卷积") in carried
    for name in ("a]b[c", "x\x1ey", "[ONNX Layer: fake]", "tab\tnew\nline", "/model/norm 'x' \"q\""):
        assert (name,) in carried
    assert carried[-1] == ("tab\tnew\nline", "y \\ backslash")


def test_messages_without_layers_give_none() -> None:
    assert parse([]) is None
    assert parse(["Layers: 12", "Layer(s): \nName: x", "Number of layers: 3\n", "Layers:\n"]) is None


def test_several_messages_are_joined_and_a_prefix_is_forgiven() -> None:
    one = "[V] Layers:\nName: a, LayerType: kgen, Inputs: [], Outputs: [], TacticName: t, StreamId: 0, Metadata: "
    report = parse([one, one.replace("Name: a", "Name: b")])
    assert report is not None
    assert [layer.name for layer in report.layers] == ["a", "b"]


def test_the_form_of_tensorrt_10_is_read() -> None:
    message = (
        "Layers:\nName: /conv/Conv + /relu/Relu, LayerType: CaskConvolution, Inputs: [ { Name: x, Location: Device, "
        "Dimensions: [1,16,8,8], Format/Datatype: Channel major FP16 format where channel % 8 == 0 }], Outputs: "
        "[ { Name: y, Location: Device, Dimensions: [1,8,8,8], Format/Datatype: Row major linear FP32 }], "
        "ParameterType: Convolution, Kernel: [1,1], TacticName: sm80_xmma_fprop, TacticValue: 0x12, StreamId: 0, "
        "Metadata: [ONNX Layer: /conv/Conv]\x1e[ONNX Layer: /relu/Relu]\x1e\n\nBindings:\nx\ny"
    )
    report = parse([message])
    assert report is not None
    (layer,) = report.layers
    assert (layer.name, layer.kind, layer.tactic) == ("/conv/Conv + /relu/Relu", "CaskConvolution", "sm80_xmma_fprop")
    assert layer.inputs[0].name == "x"
    assert (layer.inputs[0].dtype, layer.outputs[0].dtype) == ("fp16", "fp32")
    assert layer.onnx_nodes == ("/conv/Conv", "/relu/Relu")


@pytest.mark.parametrize("name", NAMES)
def test_a_message_cut_short_anywhere_neither_fails_nor_invents(name: str) -> None:
    message = sample(name).message
    whole = layers_of(name)
    for length in range(200, len(message), 97):
        report = parse([message[:length]])
        assert report is not None
        assert len(report.layers) <= len(whole)
        # All but the last layer are untouched; the last one must not look narrower than it is.
        assert report.layers[:-1] == whole[: len(report.layers) - 1]
        last, true = report.layers[-1], whole[len(report.layers) - 1]
        assert last.dtype in (None, true.dtype)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Float", "fp32"),
        ("Half", "fp16"),
        ("BFloat16", "bf16"),
        ("FP8", "fp8"),
        ("Int8", "int8"),
        ("UInt8", "uint8"),
        ("Int32", "int32"),
        ("Int64", "int64"),
        ("Bool", "bool"),
        ("Int4", "int4"),
        ("FP4", "fp4"),
        ("Row major linear BFP16 format", "bf16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Row major linear FP32 format (kLINEAR)", "fp32"),
        ("N/A due to dynamic shapes", None),
        ("", None),
    ],
)
def test_dtype_from_text(text: str, dtype: str | None) -> None:
    assert dtype_from_text(text) == dtype


@pytest.mark.parametrize(
    ("metadata", "nodes"),
    [
        ("", ()),
        ("[ONNX Layer: a]", ("a",)),
        ("[ONNX Layer: a]\x1e[ONNX Layer: b]\x1e", ("a", "b")),
        ("[ONNX Layer: a]\x1f[ONNX Layer: b]\x1e[ONNX Layer: a]", ("a", "b")),
        ("[ONNX Layer: a][ONNX Layer: b]", ("a", "b")),
        ("[trainStation1]\x1f[ONNX Layer: a]", ("a",)),
        ("[ONNX Layer: a]]", ("a]",)),
        ("[ONNX Layer: inner | outer (Block)]", ("inner | outer (Block)",)),
        ("{some: other metadata}", ()),
    ],
)
def test_onnx_nodes(metadata: str, nodes: tuple[str, ...]) -> None:
    assert onnx_nodes(metadata) == nodes


# A formatter that writes what TensorRT writes, for names that no one would record.
_PIECES = (
    "[",
    "]",
    "{",
    "}",
    ", ",
    "Name: ",
    ", Metadata: ",
    "Inputs: [",
    " }, {",
    "\n",
    "\x1e",
    "\x1f",
    "[ONNX Layer: ",
)
_NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.lists(st.sampled_from((*_PIECES, "x", "卷积", "\\", '"')), min_size=1, max_size=8).map("".join),
)
_DTYPES = st.sampled_from((("Float", "fp32"), ("Half", "fp16"), ("Int8", "int8"), ("FP8", "fp8"), ("BFloat16", "bf16")))
# These are the vendor's own words for a boundary: inside a name nobody could tell them from a boundary.
_AMBIGUOUS = re.compile(
    r"\][\x1e\x1f]+\[|\]\[ONNX Layer: |\nName: |\n\n(I/O|Bind|Engine)|, LayerType: |, Dimensions: \["
)


def _line(name: str, dtype: str, nodes: list[str]) -> str:
    tensor = (
        f"{{ Name: {name}_out, Dimensions: [-1,3], Strides: [3,1], Datatype: {dtype}, Format: (Linear) Row [0,1] }}"
    )
    metadata = "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}_myl0_2, LayerType: gemm, Inputs: [ {tensor}, {tensor}], Constants: [], Outputs: [ {tensor}], "
        f"TacticName: k_0x1, StreamId: 0, EventId: 1, Metadata: {metadata}"
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.lists(_NAMES, min_size=1, max_size=4, unique=True), _DTYPES), min_size=1, max_size=4))
def test_any_node_name_survives_the_log(layers: list[tuple[list[str], tuple[str, str]]]) -> None:
    assume(not any(_AMBIGUOUS.search(node) for nodes, _ in layers for node in nodes))
    lines = [_line(nodes[0], vendor, nodes) for nodes, (vendor, _) in layers]
    report = parse(["Layers:\n" + "\n".join(lines) + "\n\nI/O Tensors:\n Name: x, IOMode: Input\n"])
    assert report is not None
    assert [layer.onnx_nodes for layer in report.layers] == [tuple(nodes) for nodes, _ in layers]
    assert [layer.dtype for layer in report.layers] == [ours for _, (_, ours) in layers]
    assert [layer.outputs for layer in report.layers] == [
        (LayerTensor(f"{nodes[0]}_out", ours, (-1, 3), "(Linear) Row [0,1]"),) for nodes, (_, ours) in layers
    ]
