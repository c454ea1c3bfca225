"""trtkit: from an ONNX model to a checked TensorRT plan."""

__version__ = "0.1.0"
