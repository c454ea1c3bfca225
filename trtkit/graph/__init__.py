"""ONNX → ONNX: one transformation a file, each a function from a ModelProto to a ModelProto, idempotent."""
