"""What a model definition states, and how it becomes an ONNX model. Imports neither onnx nor NumPy until it builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtkit.artifacts.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from model_defs.builder import GraphBuilder, Value

__all__ = ["BATCH_AXIS", "IMAGENET_RGB", "ModelDef"]

BATCH_AXIS = "N"
"""Name of the dynamic batch dimension of every definition's input and output."""

IMAGENET_RGB = Preprocessing(
    resize=256,
    crop=(224, 224),
    channel_order="RGB",
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)
"""torchvision's ImageNet preprocessing (its ``IMAGENET1K_V1`` weights), in pixel units."""


@dataclass(frozen=True)
class ModelDef:
    """One network: its facts, and the function that writes its graph.

    Attributes:
        name: the model's name, also its file's.
        summary: one or two sentences: what it is, what it ends in, whose weights fit.
        source: the paper and the file that fix the layers.
        input_name, output_name: names of the graph's one input and one output; ``input`` unless the source names it.
        input_shape: (channels, height, width) of one image; the graph's input is N×C×H×W.
        value_range: smallest and largest input value that the preprocessing can make.
        preprocessing: from an image to the input.
        input_std: standard deviation of the preprocessed input over natural images, rounded; the seeded weights of the
            first layer are divided by it, so that activations are of order one and no Softmax saturates.
        classes: size of the output's second axis.
        parameters: trained numbers (weights, biases, BatchNorm's gamma and beta; not its running mean and variance).
        macs: multiply-accumulate operations of the convolutions and fully connected layers for one image.
        network: writes the layers into a builder and returns the last value.
        layout, input_dtype, opset: of the graph's input, and the version of the default operator set. Opset 17 is the
            newest that needs no more than IR version 8, which every TensorRT and ONNX Runtime in use reads.
        ignored_keys: regular expressions of weight-file keys that belong to no layer here and are passed over.
    """

    name: str
    summary: str
    source: str
    input_shape: tuple[int, int, int]
    value_range: tuple[float, float]
    preprocessing: Preprocessing
    input_std: float
    classes: int
    parameters: int
    macs: int
    output_name: str
    network: Callable[[GraphBuilder], Value] = field(repr=False)
    input_name: str = "input"
    layout: str = "NCHW"
    input_dtype: str = "float32"
    opset: int = 17
    ignored_keys: tuple[str, ...] = ()

    def build(self, *, weights: Path | None = None, seed: int = 0) -> onnx.ModelProto:
        """The ONNX model, with a dynamic batch axis ``N``.

        Args:
            weights: a .safetensors, .npz or .onnx file to take all weights from; float16 and float64 are converted to
                float32. Without it the weights are seeded (:mod:`model_defs.initialization`).
            seed: chooses the seeded weights; unused if ``weights`` is given.

        Raises:
            UsageError: the weights file cannot be opened, or its extension is none of the three.
            ModelError: the file does not hold exactly this network's tensors, or one of them is not finite.
        """
        from model_defs.builder import GraphBuilder

        graph = GraphBuilder(self.input_name, self.input_shape, self.input_std)
        output = self.network(graph)
        tensors = self._seeded(graph, seed) if weights is None else self._loaded(graph, weights)
        return graph.model(
            self.name,
            output,
            tensors,
            output_name=self.output_name,
            opset=self.opset,
            doc=f"{self.summary}\nSource: {self.source}",
        )

    def to_json(self) -> dict[str, Any]:
        """The stated facts as JSON-ready values, without the network itself."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("network", "ignored_keys")}
        values["preprocessing"] = self.preprocessing.to_json()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _seeded(self, graph: GraphBuilder, seed: int) -> Iterator[np.ndarray]:
        from model_defs.initialization import seeded_values

        return (seeded_values(parameter, model=self.name, seed=seed) for parameter in graph.parameters)

    def _loaded(self, graph: GraphBuilder, path: Path) -> Iterator[np.ndarray]:
        from model_defs.weights import load

        return load(path, model=self.name, parameters=graph.parameters, nodes=graph.nodes, ignored=self.ignored_keys)
