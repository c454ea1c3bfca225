"""Every name of TensorRT that trtkit's code uses exists in 10.16, in 11.4 and in TensorRT-RTX 1.7."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.backends.trt_api import RTX, TENSORRT_10, TENSORRT_11, api, problems

BACKENDS = Path(__file__).parents[2] / "trtkit" / "backends"
ALL_MODULES = (TENSORRT_10, TENSORRT_11, RTX)
MODULES_OF = {"trt_rtx.py": (RTX,)}
"""Files for which not every module matters."""

VENDOR = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "runtime_config": "IRuntimeConfig",
    "cache": "IRuntimeCache",
    "target": "enum",
    "vendor_dtype": "enum",
}
"""Variable → class of the vendor's object that it holds, wherever the code uses that name."""

OURS = {
    *("asked", "book", "can", "dict", "doubts", "driver", "feeds", "file", "found", "gpu", "known", "logger", "match"),
    *("error", "message", "method", "name", "names", "onnx", "op", "options", "outputs", "parent", "path", "plan"),
    *("profile", "report", "runtime_cache", "said", "shapes", "steps", "text", "timing_cache", "totals"),
    *("device", "fitting", "part", "ranges", "reported", "runner", "seen", "settings", "spec", "work"),
    *("value", "version"),
}
"""Variables that hold no vendor object. A new variable needs a row here or above."""

DYNAMIC = {"HardwareCompatibilityLevel": ("AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY")}
"""What a computed ``getattr`` may ask for: the values that ``--hardware-compatibility`` allows."""


def _uses_vendor(source: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "trt" for node in ast.walk(ast.parse(source)))


FILES = sorted(path.name for path in BACKENDS.glob("*.py") if _uses_vendor(path.read_text(encoding="utf-8")))
CASES = [(file, module) for file in FILES for module in MODULES_OF.get(file, ALL_MODULES)]


def test_the_files_that_touch_the_vendor_are_found() -> None:
    assert {"trt.py", "trt_config.py", "trt_log.py", "trt_runner.py", "trt_rtx.py"} <= set(FILES)


@pytest.mark.parametrize(("file", "module"), CASES, ids=lambda value: value)
def test_every_name_exists(file: str, module: str) -> None:
    source = (BACKENDS / file).read_text(encoding="utf-8")
    assert problems(source, api(module), vendor=VENDOR, ours=OURS, dynamic=DYNAMIC) == []


@pytest.mark.parametrize(
    ("source", "module", "said"),
    [
        ("trt.BuilderFlag.FP16", TENSORRT_10, None),
        ("trt.BuilderFlag.FP16", TENSORRT_11, "trt.BuilderFlag.FP16 is not in tensorrt 11.4.0.106"),
        ("trt.Bilder(logger)", TENSORRT_10, "trt.Bilder is not in"),
        ("config.int8_calibrator = None", TENSORRT_10, None),
        ("config.int8_calibrator = None", RTX, "config.int8_calibrator: IBuilderConfig has none"),
        ("engine.device_memory_size", TENSORRT_11, "ICudaEngine has none"),
        ("trt.Runtime(x).get_engine_validity(y)", RTX, None),
        ("trt.Runtime(x).get_engine_validity(y)", TENSORRT_11, "Runtime has none"),
        ("trt.ILogger.Severity.WARNING", RTX, None),
        ("trt.ILogger.Severity.LOUD", RTX, "trt.ILogger.Severity.LOUD is not in"),
        ("class M(trt.IProgressMonitor):\n    def phase_ended(self): ...", RTX, "IProgressMonitor.phase_ended"),
        ("class M(trt.ICudaMonitor): ...\n", RTX, "trt.ICudaMonitor is not in"),
        ("mystery.answer", RTX, "no row says what mystery is"),
        ("getattr(trt.BuilderFlag, 'FP8')", TENSORRT_11, "trt.BuilderFlag.FP8 is not in"),
        ("getattr(trt.BuilderFlag, asked)", TENSORRT_11, "no row says what a computed getattr"),
        ("getattr(trt.HardwareCompatibilityLevel, asked)", TENSORRT_11, None),
        ("getattr(config, 'algorithm_selector')", TENSORRT_11, "algorithm_selector is not in"),
        ("target.ordinal", RTX, "target.ordinal: enum has none"),
    ],
)
def test_the_check_can_fail(source: str, module: str, said: str | None) -> None:
    found = problems(source, api(module), vendor=VENDOR, ours=OURS, dynamic=DYNAMIC)
    assert found == [] if said is None else any(said in line for line in found), found


def test_the_recorded_names_are_those_of_the_installed_module() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    recorded = api(RTX)
    if trt.__version__ != recorded.version:
        pytest.skip(f"tensorrt-rtx {trt.__version__} is installed, {recorded.version} was recorded")
    for name, members in recorded.enums.items():
        assert sorted(getattr(trt, name).__members__) == sorted(members)
    for name in set(VENDOR.values()) - {"enum"}:
        there = {attribute for attribute in dir(getattr(trt, name)) if not attribute.startswith("_")}
        assert there == {attribute for attribute in recorded.classes[name]["attributes"] if attribute[0] != "_"}


def _keywords(function: str) -> set[str]:
    """Keywords that trtkit's code gives to ``function``."""
    given: set[str] = set()
    for file in FILES:
        for node in ast.walk(ast.parse((BACKENDS / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                given |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
    return given


def _common_keywords() -> set[str]:
    """Keys of the dictionary that :func:`trtkit.backends.trt_config.common_config` returns."""
    tree = ast.parse((BACKENDS / "trt_config.py").read_text(encoding="utf-8"))
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "common_config")
    returned = next(n.value for n in ast.walk(function) if isinstance(n, ast.Return))
    assert isinstance(returned, ast.Dict)
    return {str(key.value) for key in returned.keys if isinstance(key, ast.Constant)}


def _takes(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_polygraphy_takes_what_it_is_given() -> None:
    from polygraphy.backend import trt as polygraphy_trt
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    shared = _takes(CreateConfigRTX.__mro__[1].__init__)  # what both configurations hand on to their base class
    assert _common_keywords() <= shared and len(_common_keywords()) >= 8
    given = {name: _keywords(name) for name in ("CreateConfig", "CreateConfigRTX")}
    assert given["CreateConfig"] and given["CreateConfig"] <= shared | _takes(polygraphy_trt.CreateConfig)
    assert given["CreateConfigRTX"] and given["CreateConfigRTX"] <= shared | _takes(CreateConfigRTX)
    for name in ("network_from_onnx_path", "engine_bytes_from_network"):
        assert _keywords(name) and _keywords(name) <= _takes(getattr(polygraphy_trt, name))
    assert list(inspect.signature(polygraphy_trt.Profile.add).parameters) == ["self", "name", "min", "opt", "max"]
    assert next(iter(inspect.signature(polygraphy_trt.TrtRunner).parameters)) == "engine"
    assert {"activate", "infer", "deactivate"} <= set(dir(polygraphy_trt.TrtRunner))
