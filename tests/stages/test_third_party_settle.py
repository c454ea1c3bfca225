"""The stage that settles ranks: what it notes, and that other models pass through it untouched."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.graph.models import relu
from tests.graph.test_third_party_settle import profile, squeeze
from trtkit.errors import ModelError
from trtkit.stages.export import SourceRequest, export
from trtkit.stages.settle import settle


def test_the_transform_is_noted_and_the_source_stays_the_reference(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    onnx.save(squeeze(17, (None, 1, 4), ("M",)), file)
    exported = export(SourceRequest(str(file)))
    settled = settle(exported, profile(x=(1, 1, 4)))
    assert settled.transforms == (*exported.transforms, "settle")
    assert settled.original == file
    assert len(settled.model.graph.output[0].type.tensor_type.shape.dim) == 1
    assert settle(settled, profile(x=(1, 1, 4))) is settled


def test_a_rank_that_stays_open_is_refused_with_the_models_name(tmp_path: Path) -> None:
    file = tmp_path / "mos.onnx"
    onnx.save(squeeze(17, ("N", 1, 4), ("M",)), file)
    with pytest.raises(ModelError, match="mos: Squeeze 'sq' has no axes"):
        settle(export(SourceRequest(str(file))), profile(x=((1, 1, 4), (8, 1, 4))))


def test_other_models_pass_untouched(tmp_path: Path) -> None:
    file = tmp_path / "relu.onnx"
    onnx.save(relu(), file)
    exported = export(SourceRequest(str(file)))
    assert settle(exported, profile(x=((1, 4), (8, 4)))) is exported
