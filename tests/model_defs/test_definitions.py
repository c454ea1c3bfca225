"""Every definition: valid ONNX, exact counts, the source's names, and the numbers that plain NumPy gets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import model_defs
from model_defs.definition import ModelDef
from tests.model_defs.reference import FORWARD, softmax
from trtkit.graph.cost import cost

# Parameters and multiply-accumulates (convolutions and fully connected layers, one image). Published: torchvision's
# documentation states its models' parameters and 0.71, 1.50, 4.09 and 0.35 GFLOPS (as multiply-accumulates).
COUNTS = {
    "alexnet": (60_965_224, 724_406_816),
    "alexnet_torchvision": (61_100_840, 714_188_480),
    "googlenet": (6_998_552, 1_582_671_872),
    "googlenet_torchvision": (6_624_904, 1_498_376_192),
    "resnet50": (25_557_032, 4_089_184_256),
    "squeezenet1_1": (1_235_496, 349_151_936),
}
LAYERS = {
    "alexnet": "conv1 relu1 norm1 pool1 conv2 relu5 pool5 fc6 relu6 fc8 prob",
    "alexnet_torchvision": "features.0 features.2 features.12 classifier.1 classifier.6",
    "googlenet": "conv1/7x7_s2 conv1/relu_7x7 pool1/norm1 conv2/norm2 inception_3a/3x3 inception_4e/5x5_reduce "
    "inception_5b/relu_pool_proj inception_5b/output pool5/7x7_s1 loss3/classifier prob",
    "googlenet_torchvision": "conv1.conv conv1.bn maxpool4 inception3a.branch4.1.bn inception5b.branch2.1.conv fc",
    "resnet50": "conv1 bn1 layer1.0.downsample.0 layer4.2.conv2 layer4.2.bn3 fc",
    "squeezenet1_1": "features.0 features.3.squeeze features.12.expand3x3 classifier.1",
}


@dataclass
class Built:
    """A definition, its model and weights, and (made once: AlexNet is large) what the logits and the output are."""

    definition: ModelDef
    model: onnx.ModelProto
    weights: dict[str, np.ndarray]

    @cached_property
    def session(self) -> ort.InferenceSession:
        return session_with_logits(self.model)

    @cached_property
    def shapes(self) -> dict[str, list[int | str]]:
        """Every value's inferred shape. The initializers stand in as inputs, without their data."""
        graph = self.model.graph
        stand_ins = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in graph.initializer]
        bare = helper.make_graph(graph.node, "bare", [*graph.input, *stand_ins], graph.output)
        model = helper.make_model(bare, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
        return {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in [*inferred.input, *inferred.value_info, *inferred.output]
        }


@pytest.fixture(scope="module", params=model_defs.names())
def built(request: pytest.FixtureRequest) -> Built:
    definition = model_defs.get(request.param)
    model = definition.build()
    return Built(definition, model, {t.name: numpy_helper.to_array(t) for t in model.graph.initializer})


def session_with_logits(model: onnx.ModelProto) -> ort.InferenceSession:
    """Outputs: the model's own, and the logits too if that is a Softmax."""
    last = model.graph.node[-1]
    if last.op_type == "Softmax":
        model.graph.output.append(helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, ["N", 1000]))
    data = model.SerializeToString()
    del model.graph.output[1:]
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


def images(definition: ModelDef, count: int) -> np.ndarray:
    """Coarse coloured blocks under fine noise, of the declared standard deviation and range."""
    rng = np.random.default_rng(7)
    channels, height, width = definition.input_shape
    blocks = np.kron(rng.standard_normal((count, channels, 8, 8)), np.ones((29, 29)))[:, :, :height, :width]
    noise = rng.standard_normal((count, channels, height, width))
    pixels = definition.input_std * (0.9 * blocks + 0.44 * noise)
    return pixels.clip(*definition.value_range).astype(np.float32)


def test_facts_agree_with_each_other(built: Built) -> None:
    d = built.definition
    assert (d.layout, d.input_dtype, d.classes) == ("NCHW", "float32", 1000)
    assert d.preprocessing.crop == d.input_shape[1:]
    assert d.value_range == d.preprocessing.value_range
    assert d.source
    assert "ends in" in d.summary


def test_graph_is_valid_onnx_with_a_dynamic_batch(built: Built) -> None:
    onnx.checker.check_model(built.model, full_check=True)
    d, graph = built.definition, built.model.graph
    assert [v.name for v in graph.input] == [d.input_name]
    assert [v.name for v in graph.output] == [d.output_name]
    assert {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
    assert built.shapes[d.input_name] == ["N", *d.input_shape]
    assert built.shapes[d.output_name] == ["N", d.classes]
    assert all(shape[0] == "N" for name, shape in built.shapes.items() if name not in built.weights)
    assert (built.model.ir_version, built.model.opset_import[0].version) == (8, d.opset)


def test_counts_are_exact(built: Built) -> None:
    parameters = macs = 0
    for node in built.model.graph.node:
        trained = {"Conv": node.input[1:], "Gemm": node.input[1:], "BatchNormalization": node.input[1:3]}
        parameters += sum(built.weights[name].size for name in trained.get(node.op_type, ()))
        if node.op_type in ("Conv", "Gemm"):
            macs += built.weights[node.input[1]].size * math.prod(built.shapes[node.output[0]][2:])
    d = built.definition
    assert (parameters, macs) == COUNTS[d.name] == (d.parameters, d.macs)
    counted = cost(built.model)
    assert (counted.parameters, counted.macs) == COUNTS[d.name]


def test_names_are_unique_and_the_sources(built: Built) -> None:
    names = [node.name for node in built.model.graph.node]
    values = [output for node in built.model.graph.node for output in node.output]
    assert len(set(names)) == len(names)
    assert len(set(values)) == len(values)
    assert set(LAYERS[built.definition.name].split()) <= set(names)


def test_numbers_agree_with_plain_numpy(built: Built) -> None:
    """With a BatchNorm that is not the identity, and also in what distinguishes two images, which is far smaller."""
    weights, session = with_other_batch_norms(built)
    feeds = images(built.definition, 3)
    want = FORWARD[built.definition.name](weights, feeds[:2])
    outputs = session.run(None, {built.definition.input_name: feeds})
    output, got = outputs[0], outputs[-1]
    assert got.shape == (3, 1000)
    assert np.linalg.norm(got[:2] - want) < 1e-5 * np.linalg.norm(want)
    assert np.linalg.norm((got[1] - got[0]) - (want[1] - want[0])) < 1e-3 * np.linalg.norm(want[1] - want[0])
    expected = softmax(got) if built.definition.output_name == "prob" else got
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-7)
    alone = session.run(None, {built.definition.input_name: feeds[:1]})[-1]
    np.testing.assert_allclose(alone, got[:1], rtol=1e-3, atol=1e-3)


def with_other_batch_norms(built: Built) -> tuple[dict[str, np.ndarray], ort.InferenceSession]:
    nodes = [node for node in built.model.graph.node if node.op_type == "BatchNormalization"]
    if not nodes:
        return built.weights, built.session
    rng = np.random.default_rng(11)
    model, weights = onnx.ModelProto(), dict(built.weights)
    model.CopyFrom(built.model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in nodes:
        for factor, name in zip((1, 0, 0, 1), node.input[1:], strict=True):
            old = weights[name]
            new = old * rng.uniform(0.7, 1.3, old.shape) if factor else old + rng.standard_normal(old.shape) / 10
            weights[name] = new.astype(np.float32)
            tensors[name].raw_data = weights[name].tobytes()
    return weights, session_with_logits(model)


def test_seeded_weights_keep_the_output_in_order(built: Built) -> None:
    """Logits of order one that depend on the image, and no Softmax near certainty, at the declared input's scale."""
    logits = built.session.run(None, {built.definition.input_name: images(built.definition, 4)})[-1]
    assert np.isfinite(logits).all()
    assert 0.5 < logits.std(axis=1).mean() < 6
    assert logits.std(axis=0).mean() > 0.02
    assert softmax(logits).max() < 0.9


def test_first_layer_makes_up_for_the_inputs_scale(built: Built) -> None:
    d, first = built.definition, next(node for node in built.model.graph.node if node.op_type == "Conv")
    weight = built.weights[first.input[1]]
    scale = d.input_std * (0.226 / 0.5 if d.name == "googlenet_torchvision" else 1.0)
    assert weight.std() * scale == pytest.approx(math.sqrt(2 / math.prod(weight.shape[1:])), rel=0.02)
