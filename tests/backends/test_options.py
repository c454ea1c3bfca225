"""Build options on their way through JSON: nothing is lost, and nothing comes back as another type."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.backends.options import OPTION_FLAGS, OPTION_TYPES, BuildOptions

PROFILE = OptimizationProfile({"x": ShapeRange((1, 4), (8, 4), (16, 4))}, ("x",))
FULL = BuildOptions(
    PROFILE,
    tf32=True,
    compute_capability=("8.6", "8.9"),
    workspace_bytes=1 << 30,
    optimization_level=5,
    timing_cache=Path("t.cache"),
    runtime_cache=Path("r.cache"),
    version_compatible=True,
    hardware_compatibility="ampere_plus",
    strip_weights=True,
    refit=True,
    sparse_weights=True,
)


@pytest.mark.parametrize("options", [BuildOptions(PROFILE), FULL], ids=["defaults", "everything"])
def test_json_gives_back_the_same(options: BuildOptions) -> None:
    value = options.to_json()
    assert json.loads(json.dumps(value)) == value  # no tuple, no path
    assert BuildOptions.from_json(value) == options
    assert BuildOptions.from_json(json.loads(json.dumps(value))) == options


def test_every_option_is_in_the_test_and_has_its_flag() -> None:
    names = {field.name for field in fields(BuildOptions)}
    assert all(getattr(FULL, name) != getattr(BuildOptions(PROFILE), name) for name in names - {"profile"})
    assert set(OPTION_FLAGS) == names - {"profile"}
    assert set(OPTION_TYPES) == names - {"profile", "tf32"}


def test_caches_decide_nothing_about_a_plan() -> None:
    other = BuildOptions(PROFILE, timing_cache=Path("a"), runtime_cache=Path("b"))
    assert other.identity() == BuildOptions(PROFILE).identity()
    assert FULL.identity() != BuildOptions(PROFILE).identity()
