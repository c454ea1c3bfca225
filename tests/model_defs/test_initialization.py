"""Seeded weights: the algorithm value by value, its bytes pinned, independent of all but (seed, model, tensor)."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from onnx import numpy_helper

import model_defs
from model_defs.initialization import Parameter, he_half_width, seeded_values

_MASK = 2**128 - 1


def pcg64_words(key: str, count: int) -> list[int]:
    """PCG XSL RR 128/64 from its paper, in plain integers, with SHA-256 of the key as state and increment."""
    digest = hashlib.sha256(key.encode()).digest()
    state, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little") | 1
    words = []
    for _ in range(count):
        state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + increment) & _MASK
        folded, turn = (state >> 64) ^ (state & (2**64 - 1)), state >> 122
        words.append(((folded >> turn) | (folded << (64 - turn))) & (2**64 - 1))
    return words


def test_values_are_those_of_the_algorithm_in_plain_integers() -> None:
    parameter = Parameter("conv1.weight", (3, 7), half_width=0.3)
    got = seeded_values(parameter, model="toy", seed=5)
    assert (got.dtype, got.shape) == (np.float32, (3, 7))
    scale = np.float32(0.3 / 2**23)
    want = []
    for word in pcg64_words("5\ntoy\nconv1.weight", 11):
        for half in (word & 0xFFFFFFFF, word >> 32):
            signed = half - 2**32 if half >= 2**31 else half
            exact = Fraction(2 * (signed >> 8) + 1, 2) * Fraction(float(scale))
            want.append(np.float32(float(exact)))  # 24 bits times 24 bits fit a float64 exactly: one rounding
    assert got.ravel().tolist() == [float(value) for value in want[:21]]


def test_a_long_tensor_is_one_stream() -> None:
    """Longer than one chunk, of odd length: its head equals the short tensor of the same name."""
    long = seeded_values(Parameter("w", (600_001,), half_width=1.0), model="m", seed=0)
    short = seeded_values(Parameter("w", (101,), half_width=1.0), model="m", seed=0)
    np.testing.assert_array_equal(long[:101], short)
    tail = pcg64_words("0\nm\nw", 300_001)[-1] & 0xFFFFFFFF
    signed = tail - 2**32 if tail >= 2**31 else tail
    assert long[-1] == np.float32(((signed >> 8) + 0.5) / 2**23)
    assert abs(long).max() < 1
    assert long.std() == pytest.approx(1 / math.sqrt(3), rel=5e-3)
    assert abs(long.mean()) < 5e-3
    assert np.unique(long).size > 580_000


def test_seed_model_and_tensor_each_choose_another_stream() -> None:
    parameter = Parameter("w", (50,), half_width=1.0)
    base = seeded_values(parameter, model="m", seed=0)
    others = [
        seeded_values(parameter, model="m", seed=1),
        seeded_values(parameter, model="n", seed=0),
        seeded_values(Parameter("v", (50,), half_width=1.0), model="m", seed=0),
    ]
    assert all(np.count_nonzero(base == other) < 3 for other in others)
    np.testing.assert_array_equal(base, seeded_values(parameter, model="m", seed=0))


def test_constants_and_centres() -> None:
    np.testing.assert_array_equal(seeded_values(Parameter("g", (4,), center=0.25), model="m", seed=3), np.full(4, 0.25))
    around = seeded_values(Parameter("g", (1000,), center=2.0, half_width=0.5), model="m", seed=3)
    assert around.min() > 1.49
    assert around.max() < 2.51
    assert he_half_width(24) == 0.5
    assert he_half_width(24, input_std=50.0) == 0.01


# SHA-256 of the tensors' bytes with seed 0; a change here changes every plan built from seeded weights.
PINNED = {
    ("squeezenet1_1", "features.0.weight"): "89a7423c97f205144b2a95e2a39f4b1fa59db03a3d54faef87fcf63a149698a4",
    ("squeezenet1_1", "classifier.1.bias"): "647265f1db6f5831eda18c40a4e42e7ae2eefb01368c7635a7fcedec314ac710",
    ("googlenet", "conv1/7x7_s2.weight"): "ae4b9360bd8e462bdc0d3af5269c6b805a7b9e72e06663b980413b3cac84d18e",
    ("googlenet", "loss3/classifier.weight"): "0b14b61fa215a5b61b5b4d4ce2990b72deb3e355d4567c71efd8e2a58232c2ff",
    (
        "googlenet_torchvision",
        "inception4e.branch2.1.conv.weight",
    ): "dc966028b097103c2e0e18965bcf2b581b9f2b734a73214303af1c35892084be",
}


def test_bytes_are_pinned_and_come_from_raw_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a NumPy stream that may change between versions was used")

    for name in ("default_rng", "Generator", "RandomState", "rand", "randn", "uniform", "normal", "random"):
        monkeypatch.setattr(np.random, name, refused)
    for model in sorted({model for model, _ in PINNED}):
        graph = model_defs.get(model).build().graph
        digests = {t.name: hashlib.sha256(numpy_helper.to_array(t).tobytes()).hexdigest() for t in graph.initializer}
        for (owner, tensor), digest in PINNED.items():
            if owner == model:
                assert digests[tensor] == digest, tensor


def test_a_model_is_the_same_bytes_twice_and_other_bytes_with_another_seed() -> None:
    definition = model_defs.get("squeezenet1_1")
    first, again, other = (definition.build(seed=seed).SerializeToString(deterministic=True) for seed in (0, 0, 1))
    assert first == again
    assert first != other
