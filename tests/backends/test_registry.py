"""Families by name; looking one up imports no vendor."""

from __future__ import annotations

import sys

import pytest

from trtkit import worker
from trtkit.backends import registry
from trtkit.errors import UsageError
from trtkit.worker.protocol import Reporter


def vendors_after_get(report: Reporter) -> list[str]:
    """A worker's job: which vendor modules are loaded after every backend was made."""
    for family in registry.FAMILIES:
        assert registry.get(family).family == family
    vendors = {"tensorrt", "tensorrt_rtx", "onnxruntime", "polygraphy", "cuda", "pynvml"}
    return sorted(vendors & {name.split(".")[0] for name in sys.modules})


def test_getting_a_backend_imports_no_vendor() -> None:
    answer = worker.run(f"{__name__}:vendors_after_get", {}, what="the test")
    assert answer.value == []


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no family 'tensorflow'") as caught:
        registry.get("tensorflow")
    assert all(family in caught.value.hint for family in (*registry.PREFERENCE, "auto"))


def test_auto_prefers_tensorrt_and_never_takes_the_null_family() -> None:
    assert registry.PREFERENCE == ("tensorrt", "tensorrt-rtx", "onnxruntime")
    assert set(registry.PREFERENCE) == set(registry.FAMILIES) - {"null"}


@pytest.mark.parametrize("family", sorted(registry.FAMILIES))
def test_polygraphy_is_switched_by_the_workers_environment(family: str) -> None:
    assert registry.worker_env(family) == {"POLYGRAPHY_USE_TENSORRT_RTX": "1" if family == "tensorrt-rtx" else "0"}
