"""The list of definitions, and that listing costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import model_defs
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import UsageError


def test_every_definition_is_a_file_of_its_name() -> None:
    folder = Path(model_defs.__file__).parent
    defining = sorted(path.stem for path in folder.glob("*.py") if "\nDEFINITION = " in path.read_text("utf-8"))
    assert model_defs.names() == tuple(defining)
    assert [model_defs.get(name).name for name in model_defs.names()] == defining


def test_listing_all_facts_imports_neither_onnx_nor_numpy() -> None:
    code = (
        "import model_defs, sys; facts = [model_defs.get(n).to_json() for n in model_defs.names()];"
        "print(len(facts), sorted({'numpy', 'onnx', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6 []"


@pytest.mark.parametrize("name", model_defs.names())
def test_facts_are_json(name: str) -> None:
    facts = json.loads(json.dumps(model_defs.get(name).to_json(), allow_nan=False))
    assert facts["name"] == name
    assert facts["input_shape"][0] == 3
    assert Preprocessing.from_json(facts["preprocessing"]) == model_defs.get(name).preprocessing


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("googlnet", "googlenet"), ("AlexNet", "alexnet"), ("resnet-50", "resnet50"), ("squeezenet", "squeezenet1_1")],
)
def test_an_unknown_name_is_answered_with_all_names_and_the_closest(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_defs.get(wrong)
    assert all(name in caught.value.message for name in (wrong, *model_defs.names()))
    assert caught.value.hint == f"Did you mean {meant}?"


def test_a_name_like_none_gets_a_general_hint() -> None:
    with pytest.raises(UsageError) as caught:
        model_defs.get("qqqq")
    assert ".onnx" in caught.value.hint
