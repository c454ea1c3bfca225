"""The public names are exactly ``trtkit.__all__``, and asking for them or for help costs no heavy import."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from types import ModuleType

import pytest

import trtkit

PUBLIC = {
    "BackendUnavailableError",
    "BenchExports",
    "BenchmarkRequest",
    "BenchmarkResult",
    "BuildError",
    "CalibrationError",
    "CalibrationRequest",
    "CalibrationResult",
    "ConvertRequest",
    "ConvertResult",
    "DataSpec",
    "Listener",
    "ModelError",
    "OptimizeRequest",
    "OptimizeResult",
    "PlanError",
    "Quantization",
    "RunError",
    "SourceRequest",
    "TrtkitError",
    "UsageError",
    "__version__",
    "StudyRequest",
    "StudyResult",
    "bench",
    "compare",
    "study",
    "calibrate",
    "convert",
    "examine",
    "inspect",
    "optimize",
    "validate_plan",
}
HEAVY = {
    "numpy",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "tensorrt_rtx",
    "polygraphy",
    "cuda",
    "pynvml",
    "PIL",
    "ml_dtypes",
    "matplotlib",
    "jinja2",
}


def _fresh(code: str) -> str:
    """The last line that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[-1]


def _loaded_after(code: str) -> set[str]:
    names = _fresh(
        f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    return set(json.loads(names))


def test_public_names_are_these() -> None:
    assert set(trtkit.__all__) == PUBLIC
    assert len(trtkit.__all__) == len(PUBLIC)


def test_each_name_resolves_to_what_its_home_has() -> None:
    for name in PUBLIC - {"__version__"}:
        found = getattr(trtkit, name)
        assert not isinstance(found, ModuleType) and callable(found), name
        home = importlib.import_module(trtkit._HOMES[name])
        assert found is getattr(home, name)
        assert name in home.__all__
        assert found.__doc__, f"{name} is public and says nothing"
    assert set(trtkit._HOMES) == PUBLIC - {"__version__"}


def test_a_name_stays_the_function_after_its_module_was_imported() -> None:
    """``trtkit.inspect`` must not become a module because somebody imported one of a like name."""
    loaded = _fresh(
        "import trtkit.stages.inspect, trtkit.pipeline.conversion, trtkit.cli.main, trtkit\n"
        "print(all(callable(getattr(trtkit, n)) for n in trtkit.__all__ if n != '__version__'))"
    )
    assert loaded == "True"


def test_star_import_brings_all_of_them() -> None:
    assert _fresh("from trtkit import *\nimport trtkit\nprint(all(n in globals() for n in trtkit.__all__))") == "True"


@pytest.mark.parametrize("name", ["benchmark", "Convert", "np", "_hidden"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'trtkit' has no attribute '{name}'"):
        getattr(trtkit, name)
    assert not hasattr(trtkit, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from trtkit import {name}", {})


def test_dir_shows_no_name_that_does_not_resolve() -> None:
    assert {"__version__", "__all__"} <= set(dir(trtkit))
    assert all(hasattr(trtkit, name) for name in dir(trtkit))


def test_import_trtkit_is_light_and_quick() -> None:
    code = "import time; a = time.perf_counter(); import trtkit; print(time.perf_counter() - a)"
    assert min(float(_fresh(code)) for _ in range(5)) <= 0.1
    assert not _loaded_after("import trtkit; trtkit.UsageError") & (HEAVY | {"typer", "rich"})


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["study", "--help"],
        ["compare", "--help"],
        ["convert", "--help"],
        ["calibrate", "--help"],
        ["bench", "--help"],
    ],
)
def test_help_is_light(words: list[str]) -> None:
    loaded = _loaded_after(f"from trtkit.cli.main import main; assert main({words!r}) == 0")
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_the_parent_of_a_conversion_imports_no_vendor() -> None:
    vendors = HEAVY - {"numpy", "onnx", "ml_dtypes", "PIL"}
    assert (
        not _loaded_after(
            "import trtkit; trtkit.bench, trtkit.convert, trtkit.examine, trtkit.inspect, trtkit.validate_plan"
        )
        & vendors
    )


def test_completion_knows_the_names() -> None:
    assert {name for name in dir(trtkit) if not name.startswith("__")} == PUBLIC - {"__version__"}
