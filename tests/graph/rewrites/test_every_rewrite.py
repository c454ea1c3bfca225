"""Every rewrite on random nets, alone and together, in any order; what all of them promise."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.graph.rewrites.oracle import agree, applied, ops
from tests.graph.rewrites.random_nets import nets
from trtkit.errors import UsageError
from trtkit.graph import rewrites
from trtkit.graph.float16 import to_float16
from trtkit.graph.rewrites import ALL, SAFE, apply_all, safe

PLAIN = [name for name, rewrite in ALL.items() if not rewrite.changes_interface]
LIMIT = 5e-5  # relative L2; cancellation in a small random net costs digits
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@settings(max_examples=25, **SLOW)
@given(source=nets())
def test_each_alone_computes_the_same(source):
    for name in PLAIN:
        if ALL[name].find(source):
            applied(ALL[name], source, limit=LIMIT)


@settings(max_examples=40, **SLOW)
@given(source=nets(), names=st.permutations(PLAIN), count=st.integers(2, len(PLAIN)))
def test_any_combination_computes_the_same(source, names, count):
    before = source.SerializeToString(deterministic=True)
    result, sites = apply_all(source, names[:count])
    assert source.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(result, full_check=True)
    assert {site.rewrite for site in sites} <= set(names[:count])
    agree(source, result, limit=LIMIT)


@settings(max_examples=20, **SLOW)
@given(source=nets())
def test_the_safe_ones_in_their_order_survive_the_cast(source):
    result, _ = apply_all(source, safe("tensorrt-rtx"))
    agree(source, result, limit=LIMIT)
    assert "LRN" not in ops(result)
    half = to_float16(result).model
    onnx.checker.check_model(half, full_check=True)
    agree(source, half, limit=2e-2)


def test_every_rewrite_says_what_it_does():
    for name, rewrite in ALL.items():
        assert rewrite.name == name == name.lower().replace(" ", "_")
        assert rewrite.summary and rewrite.gains
    assert len({rewrite.summary for rewrite in ALL.values()}) == len(ALL)


def test_safe_depends_on_the_target_and_never_changes_an_interface():
    on_cpu, on_gpu = set(safe("onnxruntime:cpu")), set(safe("tensorrt-rtx:9.0"))
    assert set(SAFE) == on_cpu & on_gpu and on_cpu | on_gpu <= set(ALL)
    assert "hard_swish" in on_cpu - on_gpu and "stem_space_to_depth" in on_gpu - on_cpu
    on_cuda = set(safe("onnxruntime:cuda"))
    assert set(SAFE) - on_cuda == {"lrn_band"} and on_cuda - set(SAFE) == {"stem_space_to_depth"}
    assert on_gpu - set(SAFE) == {"stem_space_to_depth_16", "stem_space_to_depth"}
    assert safe("tensorrt") == safe("tensorrt-rtx:9.0")
    assert not any(ALL[name].changes_interface for name in safe("tensorrt"))


def test_what_is_safe_for_tensorrt_may_be_so_for_no_other_engine(monkeypatch):
    monkeypatch.setattr(rewrites, "_SAFE_ON_TENSORRT", ("fc_as_conv",))
    for target, has in (("tensorrt", True), ("tensorrt-rtx:9.0", True), ("onnxruntime:cuda", False), ("null", False)):
        assert ("fc_as_conv" in safe(target)) is has


def test_unknown_names_and_repeated_ones():
    with pytest.raises(UsageError, match="no rewrite 'nonsense'"):
        rewrites.named(["nonsense"])
    with pytest.raises(UsageError, match="there twice"):
        rewrites.named(["lrn_band", "lrn_band"])
