"""Write squeezenet1_1.safetensors: torchvision's keys and shapes, with seeded numbers in place of trained ones."""

from onnx import numpy_helper
from safetensors.numpy import save_file

import model_defs

model = model_defs.get("squeezenet1_1").build(seed=2026)
tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
save_file(tensors, "squeezenet1_1.safetensors")
print(f"wrote squeezenet1_1.safetensors: {len(tensors)} tensors, the first is {min(tensors)}")
