"""The stage: rewrites are applied, checked in a worker, and dropped when they change the function."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.graph.rewrites.oracle import net, node, normal, ops
from trtkit import worker
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.errors import RunError, UsageError
from trtkit.graph import io, rewrites
from trtkit.graph.rewrites import ALL
from trtkit.graph.rewrites.base import Edit, Rewrite
from trtkit.stages.rewrite import RewriteOptions, rewrite, rewrite_model


class Doubled(Rewrite):
    """Wrong on purpose: a Relu becomes a Relu of twice the number."""

    name = "doubled"
    summary = gains = "nothing"

    def edits(self, graph):
        for item in graph.of_type("Relu"):
            if "doubled" not in item.name:
                edit = Edit(graph, self.name, item, [item], "")
                two = edit.tensor("two", np.float32(2))
                edit.add("Relu", [edit.add("Mul", [item.input[0], two], "mul")], "relu", output=item.output[0])
                yield edit


class Broken(Rewrite):
    """Raises what no rewrite should."""

    name = "broken"
    summary = gains = "nothing"

    def edits(self, graph):
        raise ValueError("need at least one array")
        yield


def small():
    weights = {"w": normal(8, 3, 3, 3), "b": normal(8)}
    nodes = [
        node("Conv", ["x", "w", "b"], "c", "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], "r", "relu1"),
        node("LRN", ["r"], "n", "norm1", size=5),
        node("GlobalAveragePool", ["n"], "g", "pool"),
        node("Flatten", ["g"], "f", "flat"),
        node("Softmax", ["f"], "y", "prob"),
    ]
    return net(nodes, {"x": ("N", 3, 16, 16)}, weights)


@pytest.fixture
def wrong(monkeypatch):
    monkeypatch.setitem(rewrites.ALL, "doubled", Doubled())


def test_a_model_is_rewritten_and_the_report_says_how_it_was_checked(tmp_path):
    events = []
    options = RewriteOptions(("lrn_band", "stem_space_to_depth", "stem_space_to_depth_16"), asked="safe")
    result, report = rewrite_model(small(), tmp_path, options, events.append)
    assert ops(result)[:2] == ["SpaceToDepth", "Conv"] and "LRN" not in ops(result)
    assert report.names == ("lrn_band", "stem_space_to_depth")
    assert report.samples == ("batch 1", "batch 3") and "ONNX Runtime" in report.where
    assert all(item.difference < item.limit and item.limit >= 1e-5 for item in report.kept)
    assert "no place" in report.rewrites[2].reason
    assert any(event.phase == "Checking rewrites" and event.step == event.steps for event in events)


def test_a_rewrite_that_changes_the_function_is_dropped_and_the_others_stay(tmp_path, wrong):
    source = small()
    before = source.SerializeToString(deterministic=True)
    result, report = rewrite_model(source, tmp_path, RewriteOptions(("doubled", "lrn_band")))
    assert source.SerializeToString(deterministic=True) == before
    assert report.names == ("lrn_band",)
    assert not any("doubled" in item.name for item in result.graph.node)
    bad = report.rewrites[0]
    assert not bad.kept and bad.difference > bad.limit and "differs from the source" in bad.reason


def test_a_rewrite_that_fails_is_left_out_and_the_others_stay(tmp_path, monkeypatch, wrong):
    monkeypatch.setitem(rewrites.ALL, "broken", Broken())
    result, report = rewrite_model(small(), tmp_path, RewriteOptions(("broken", "doubled", "lrn_band")))
    assert report.names == ("lrn_band",) and "LRN" not in ops(result)
    left = report.rewrites[0]
    assert not left.kept and left.sites == () and "bug in trtkit (ValueError: need at least" in left.reason
    heard = []
    made, sites = rewrites.apply_all(small(), ("broken", "lrn_band"), failed=lambda *what: heard.append(what))
    assert "LRN" not in ops(made) and {site.rewrite for site in sites} == {"lrn_band"}
    assert [name for name, _ in heard] == ["broken"]
    with pytest.raises(ValueError, match="at least one"):
        rewrites.apply_all(small(), ("broken",))


def test_a_source_that_is_not_finite_is_blamed_itself(tmp_path):
    source = net([node("Log", ["x"], "l", "log"), node("LRN", ["l"], "y", "norm1", size=5)], {"x": ("N", 8, 4, 4)})
    result, report = rewrite_model(source, tmp_path, RewriteOptions(("lrn_band",)))
    assert result is source
    assert "the source's own output 'y' is not finite on batch 1" in report.rewrites[0].reason


def test_with_nothing_to_do_the_model_itself_comes_back(tmp_path):
    source = net([node("Relu", ["x"], "y", "relu")], {"x": ("N", 4)})
    result, report = rewrite_model(source, tmp_path, RewriteOptions(("lrn_band",)))
    assert result is source and report.kept == () and list(tmp_path.iterdir()) == []


def test_files_and_real_inputs(tmp_path):
    model = io.save(small(), tmp_path / "small.onnx", name="small", precision="fp32")
    np.savez(tmp_path / "real.npz", x=normal(2, 3, 16, 16, scale=50))
    options = RewriteOptions(("lrn_band",), data=tmp_path / "real.npz")
    made, report = rewrite(model, tmp_path / "faster.onnx", tmp_path, options)
    assert made.path.name == "faster.onnx" and made.transforms == ("lrn_band",) and made.parents == (model.sha256,)
    assert report.samples[-1] == "real inputs"
    same, _ = rewrite(model, tmp_path / "none.onnx", tmp_path, RewriteOptions(()))
    assert same is model and not (tmp_path / "none.onnx").exists()


def test_images_as_uint8_are_checked_against_normalised_ones(tmp_path, monkeypatch):
    checked = []
    run = worker.run
    monkeypatch.setattr(worker, "run", lambda job, args, **how: (checked.append(args), run(job, args, **how))[1])
    imagenet = Preprocessing(32, (16, 16), "RGB", (124.0, 116.0, 104.0), (58.0, 57.0, 57.0))
    names = ("uint8_nhwc_input", "fold_batchnorm", "lrn_band")
    result, report = rewrite_model(small(), tmp_path, RewriteOptions(names, preprocessing=imagenet))
    assert report.names == names and all(item.difference < item.limit for item in report.kept)
    # One check was enough, though the last rewrite is none that changes the interface.
    assert [(args["images"], len(args["rewritten"])) for args in checked] == [(True, 1)]
    (given,) = io.specs(result)[0]
    assert (given.dtype, given.shape) == ("uint8", ("N", 16, 16, 3))
    # The convolution is padded, so the mean stays in front of it, and the factor is folded.
    assert ops(result)[:4] == ["Cast", "Transpose", "Sub", "Conv"]


def test_a_replay_makes_the_same_model(tmp_path):
    first, report = rewrite_model(small(), tmp_path, RewriteOptions(("lrn_band", "stem_space_to_depth")))
    options = RewriteOptions(report.names, only=report.replay, check=False)
    again, replayed = rewrite_model(small(), tmp_path, options)
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    assert replayed.replay == report.replay and replayed.own_difference is None
    nowhere = RewriteOptions(("lrn_band",), only={"lrn_band": ("elsewhere",)}, check=False)
    assert rewrite_model(small(), tmp_path, nowhere)[1].kept == ()


def test_unknown_names_and_sources_that_do_not_run(tmp_path):
    with pytest.raises(UsageError, match="no rewrite 'lrn_bond'") as caught:
        rewrite_model(small(), tmp_path, RewriteOptions(("lrn_bond",)))
    assert "lrn_band" in caught.value.hint
    strange = small()
    strange.opset_import.append(onnx.helper.make_opsetid("strange", 1))
    strange.graph.node[5].domain = "strange"
    with pytest.raises(RunError, match=r"cannot run source\.onnx"):
        rewrite_model(strange, tmp_path, RewriteOptions(("lrn_band",)))


def test_every_rewrite_can_be_asked_for():
    assert tuple(item.name for item in rewrites.named(tuple(ALL))) == tuple(ALL)
