"""optimize --data: what does not fit is refused before anything is done, and what fits is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.graph.rewrites.oracle import net, node, normal
from tests.pipeline.conversions import everything, saved
from tests.pipeline.small_calibration import Notes
from trtkit.artifacts.rewrites import AppliedRewrite, RewriteReport
from trtkit.errors import RunError, UsageError
from trtkit.pipeline import rewriting
from trtkit.pipeline.optimization import OptimizeRequest, optimize
from trtkit.pipeline.rewrite_notes import notes
from trtkit.stages.export import SourceRequest
from trtkit.stages.rewrite import NO_PLACE


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [node("Add", ["x", "z"], "a", "sum"), node("LRN", ["a"], "y", "norm1", size=3)]
    return saved(net(nodes, {"x": ("N", 3, 4, 4), "z": ("N", 3, 1, 1)}), tmp_path / "source")


def asked(model: Path, data: Path, **changes: object) -> OptimizeRequest:
    output = data.parent / "out" / "faster.onnx"
    return OptimizeRequest(SourceRequest(str(model)), output, **{"target": "onnxruntime:cpu", "data": data, **changes})


GOOD = {"x": normal(2, 3, 4, 4), "z": normal(2, 3, 1, 1)}


def test_what_fits_is_compared_too(model, tmp_path):
    np.savez(tmp_path / "real.npz", **GOOD)
    done = optimize(asked(model, tmp_path / "real.npz"))
    assert done.report.names == ("lrn_band",) and done.report.samples[-1] == "real inputs"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GOOD["x"]}, "has no array z"),
        ({**GOOD, "image": GOOD["x"]}, "no input image"),
        ({**GOOD, "x": GOOD["x"].astype(np.float64)}, "x is float64, not float32"),
        ({**GOOD, "x": GOOD["x"][:, :2]}, "x has the shape 2×2×4×4"),
        ({**GOOD, "x": GOOD["x"][0]}, "x has the shape 3×4×4"),
        ({**GOOD, "z": GOOD["z"][:1]}, "z has the shape 1×3×1×1"),
        ({**GOOD, "x": GOOD["x"][:0]}, "x has the shape 0×3×4×4"),
    ],
    ids=["missing", "further", "type", "channels", "rank", "another batch", "empty"],
)
def test_what_does_not_fit_is_refused(model, tmp_path, arrays, message):
    np.savez(tmp_path / "real.npz", **arrays)
    with pytest.raises(UsageError, match=message) as caught:
        optimize(asked(model, tmp_path / "real.npz"))
    assert "x float32 N×3×4×4; z float32 N×3×1×1" in caught.value.message
    assert not (tmp_path / "out").exists() or everything(tmp_path / "out") == set()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 and then nothing", "npy", "objects", None])
def test_what_is_no_npz_file_is_refused(model, tmp_path, content):
    data = tmp_path / "real.npz"
    if content == "npy":
        np.save(tmp_path / "one.npy", GOOD["x"])
        (tmp_path / "one.npy").rename(data)
    elif content == "objects":
        np.savez(data, x=np.array([None, 1], object), z=GOOD["z"])
    elif content is not None:
        data.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as an"):
        optimize(asked(model, data))


def test_inputs_of_the_source_do_not_go_with_another_interface(model, tmp_path):
    np.savez(tmp_path / "real.npz", **GOOD)
    with pytest.raises(UsageError, match="uint8_nhwc_input changes what the model takes"):
        optimize(asked(model, tmp_path / "real.npz", rewrite="lrn_band,uint8_nhwc_input"))


def test_a_check_on_real_inputs_that_cannot_be_made_is_an_error(model, tmp_path, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise RunError("ONNX Runtime cannot run source.onnx: no such operator.", hint="Mend it.")

    monkeypatch.setattr(rewriting, "rewrite_once", refuse)
    np.savez(tmp_path / "real.npz", **GOOD)
    with pytest.raises(RunError, match="cannot run"):
        optimize(asked(model, tmp_path / "real.npz"))
    assert optimize(replace(asked(model, tmp_path / "real.npz"), data=None)).report.kept == ()


def test_a_limit_that_proves_little_is_told(tmp_path):
    kept = AppliedRewrite("lrn_band", (), 0.02, 0.123, kept=True)
    (text,) = notes(RewriteReport("safe", (kept,), own_difference=0.041), None)
    assert "change an output of the source by 4e-02" in text and "by 1e-01" in text
    assert text.endswith("their check proves little; give real inputs with trtkit optimize --data")
    (text,) = notes(RewriteReport("safe", (kept,), own_difference=0.041), tmp_path)
    assert text.endswith("proves little")
    fine = AppliedRewrite("lrn_band", (), 1e-6, 1e-5, kept=True)
    nowhere = AppliedRewrite("fold_pad", (), None, None, kept=False, reason=NO_PLACE)
    assert list(notes(RewriteReport("safe", (fine, nowhere), own_difference=None), None)) == []
    lost = AppliedRewrite("fold_pad", (), 1.0, 1e-5, kept=False, reason="it differs")
    assert list(notes(RewriteReport("safe", (lost,)), None)) == ["the rewrite fold_pad was left out: it differs"]


def test_a_model_that_hangs_on_rounding_is_told_of(tmp_path):
    """Small numbers plus and minus a large one, which ONNX Runtime folds into nothing as the rewrites do."""
    heard = Notes()
    weights = {
        "w": normal(8, 3, 1, 1, scale=0.01),
        "k": np.full((8, 1, 1), 6e4, "f"),
        "d": np.full((8, 1, 1), -6e4, "f"),
    }
    nodes = [
        node("Conv", ["x", "w"], "c", "conv"),
        node("Add", ["c", "k"], "a", "up"),
        node("Add", ["a", "d"], "b", "down"),
        node("LRN", ["b"], "y", "norm1", size=3),
    ]
    source = saved(net(nodes, {"x": ("N", 3, 4, 4)}, weights), tmp_path / "rounding")
    done = optimize(replace(asked(source, tmp_path / "no.npz"), data=None), heard)
    assert max(item.limit for item in done.report.kept) > 1e-2
    assert any("their check proves little; give real inputs" in text for text in heard.texts)
