"""The six networks once more, as slow plain NumPy, from the prototxts and torchvision's modules: the tests' oracle.

Nothing here uses model_defs. A forward function takes the weights by name and a batch, and returns the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["FORWARD", "softmax"]

Weights = Mapping[str, np.ndarray]


def _windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    return sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def _conv(w: Weights, key: str, x: np.ndarray, stride: int = 1, pad: int = 0, groups: int = 1) -> np.ndarray:
    weight = w[f"{key}.weight"]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = []
    for part, filters in zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True):
        windows = _windows(part, weight.shape[2], stride)
        out.append(np.tensordot(windows, filters, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2))
    y = np.concatenate(out, axis=1)
    return y + w[f"{key}.bias"][:, None, None] if f"{key}.bias" in w else y


def _batch_norm(w: Weights, key: str, x: np.ndarray, epsilon: float) -> np.ndarray:
    gamma, beta, mean, var = (w[f"{key}.{n}"][:, None, None] for n in ("weight", "bias", "running_mean", "running_var"))
    return (x - mean) / np.sqrt(var + np.float32(epsilon)) * gamma + beta


def _linear(w: Weights, key: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{key}.weight"].T + w[f"{key}.bias"]


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _max_pool(x: np.ndarray, kernel: int, stride: int, pad: int = 0) -> np.ndarray:
    """Caffe's rule: as many windows as it takes to cover the edge."""
    more = [-(size + 2 * pad - kernel) % stride for size in x.shape[2:]]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad + more[0]), (pad, pad + more[1])), constant_values=-np.inf)
    return _windows(x, kernel, stride).max(axis=(4, 5))


def _max_pool_floor(x: np.ndarray, kernel: int, stride: int, pad: int = 0) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf)
    return _windows(x, kernel, stride).max(axis=(4, 5))


def _lrn(x: np.ndarray) -> np.ndarray:
    """Caffe: local_size 5, alpha 1e-4 (divided by local_size), beta 0.75, k 1."""
    squares = np.pad(x * x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    total = sum(squares[:, i : i + x.shape[1]] for i in range(5))
    return x / (1 + 1e-4 / 5 * total) ** 0.75


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _alexnet(w: Weights, x: np.ndarray) -> np.ndarray:
    x = _max_pool(_lrn(_relu(_conv(w, "conv1", x, stride=4))), 3, 2)
    x = _max_pool(_lrn(_relu(_conv(w, "conv2", x, pad=2, groups=2))), 3, 2)
    x = _relu(_conv(w, "conv3", x, pad=1))
    x = _relu(_conv(w, "conv4", x, pad=1, groups=2))
    x = _max_pool(_relu(_conv(w, "conv5", x, pad=1, groups=2)), 3, 2)
    x = _relu(_linear(w, "fc6", x.reshape(len(x), -1)))
    return _linear(w, "fc8", _relu(_linear(w, "fc7", x)))


def _googlenet(w: Weights, x: np.ndarray) -> np.ndarray:
    x = _lrn(_max_pool(_relu(_conv(w, "conv1/7x7_s2", x, stride=2, pad=3)), 3, 2))
    x = _relu(_conv(w, "conv2/3x3_reduce", x))
    x = _max_pool(_lrn(_relu(_conv(w, "conv2/3x3", x, pad=1))), 3, 2)
    for block in ("3a", "3b", "pool", "4a", "4b", "4c", "4d", "4e", "pool", "5a", "5b"):
        if block == "pool":
            x = _max_pool(x, 3, 2)
            continue
        p = f"inception_{block}/"
        b3 = _conv(w, p + "3x3", _relu(_conv(w, p + "3x3_reduce", x)), pad=1)
        b5 = _conv(w, p + "5x5", _relu(_conv(w, p + "5x5_reduce", x)), pad=2)
        pool = _conv(w, p + "pool_proj", _max_pool(x, 3, 1, pad=1))
        x = _relu(np.concatenate([_conv(w, p + "1x1", x), b3, b5, pool], axis=1))
    return _linear(w, "loss3/classifier", x.mean(axis=(2, 3)))


def _alexnet_torchvision(w: Weights, x: np.ndarray) -> np.ndarray:
    x = _max_pool_floor(_relu(_conv(w, "features.0", x, stride=4, pad=2)), 3, 2)
    x = _max_pool_floor(_relu(_conv(w, "features.3", x, pad=2)), 3, 2)
    for key in ("features.6", "features.8", "features.10"):
        x = _relu(_conv(w, key, x, pad=1))
    x = _max_pool_floor(x, 3, 2)
    x = _relu(_linear(w, "classifier.1", x.reshape(len(x), -1)))
    return _linear(w, "classifier.6", _relu(_linear(w, "classifier.4", x)))


def _googlenet_torchvision(w: Weights, x: np.ndarray) -> np.ndarray:
    def basic(key: str, x: np.ndarray, stride: int = 1, pad: int = 0) -> np.ndarray:
        return _relu(_batch_norm(w, f"{key}.bn", _conv(w, f"{key}.conv", x, stride, pad), 1e-3))

    red = x[:, 0:1] * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
    green = x[:, 1:2] * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
    blue = x[:, 2:3] * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
    x = np.concatenate([red, green, blue], axis=1).astype(np.float32)
    x = _max_pool(basic("conv1", x, stride=2, pad=3), 3, 2)
    x = _max_pool(basic("conv3", basic("conv2", x), pad=1), 3, 2)
    for block in ("3a", "3b", "maxpool3", "4a", "4b", "4c", "4d", "4e", "maxpool4", "5a", "5b"):
        if block.startswith("maxpool"):
            x = _max_pool(x, 3 if block == "maxpool3" else 2, 2)
            continue
        p = f"inception{block}.branch"
        b2 = basic(f"{p}2.1", basic(f"{p}2.0", x), pad=1)
        b3 = basic(f"{p}3.1", basic(f"{p}3.0", x), pad=1)
        b4 = basic(f"{p}4.1", _max_pool(x, 3, 1, pad=1))
        x = np.concatenate([basic(f"{p}1", x), b2, b3, b4], axis=1)
    return _linear(w, "fc", x.mean(axis=(2, 3)))


def _resnet50(w: Weights, x: np.ndarray) -> np.ndarray:
    x = _relu(_batch_norm(w, "bn1", _conv(w, "conv1", x, stride=2, pad=3), 1e-5))
    x = _max_pool_floor(x, 3, 2, pad=1)
    for layer, blocks in ((1, 3), (2, 4), (3, 6), (4, 3)):
        for block in range(blocks):
            p = f"layer{layer}.{block}."
            stride = 2 if layer > 1 and block == 0 else 1
            y = _relu(_batch_norm(w, p + "bn1", _conv(w, p + "conv1", x), 1e-5))
            y = _relu(_batch_norm(w, p + "bn2", _conv(w, p + "conv2", y, stride, 1), 1e-5))
            y = _batch_norm(w, p + "bn3", _conv(w, p + "conv3", y), 1e-5)
            if block == 0:
                x = _batch_norm(w, p + "downsample.1", _conv(w, p + "downsample.0", x, stride), 1e-5)
            x = _relu(y + x)
    return _linear(w, "fc", x.mean(axis=(2, 3)))


def _squeezenet1_1(w: Weights, x: np.ndarray) -> np.ndarray:
    def fire(index: int, x: np.ndarray) -> np.ndarray:
        p = f"features.{index}."
        x = _relu(_conv(w, p + "squeeze", x))
        return _relu(np.concatenate([_conv(w, p + "expand1x1", x), _conv(w, p + "expand3x3", x, pad=1)], axis=1))

    x = _max_pool(_relu(_conv(w, "features.0", x, stride=2)), 3, 2)
    x = _max_pool(fire(4, fire(3, x)), 3, 2)
    x = _max_pool(fire(7, fire(6, x)), 3, 2)
    x = fire(12, fire(11, fire(10, fire(9, x))))
    return _relu(_conv(w, "classifier.1", x)).mean(axis=(2, 3))


FORWARD: dict[str, Callable[[Weights, np.ndarray], np.ndarray]] = {
    "alexnet": _alexnet,
    "alexnet_torchvision": _alexnet_torchvision,
    "googlenet": _googlenet,
    "googlenet_torchvision": _googlenet_torchvision,
    "resnet50": _resnet50,
    "squeezenet1_1": _squeezenet1_1,
}
