"""Engines of one source for several batches: its rewrites are checked by the first, and made again by the others."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest

from tests.pipeline.conversions import asked, saved
from tests.pipeline.test_rewriting import small
from trtkit.graph import io
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.rewrite_memory import RewriteMemory
from trtkit.stages import rewrite as stage
from trtkit.stages.export import SourceRequest
from trtkit.stages.plan_cache import PlanCache


@pytest.fixture
def checks(monkeypatch):
    """The checks that were made."""
    made, real = [], stage._check
    monkeypatch.setattr(stage, "_check", lambda *args: made.append(args) or real(*args))
    return made


def build(model, out, cache, batch, **changes):
    request = asked(model, out, batch=batch, validate=False, **changes)
    return convert(request, memory=RewriteMemory(cache, SourceRequest(str(model)).identity())).manifest


def test_the_second_conversion_checks_nothing_and_says_what_the_first_found(tmp_path, checks):
    model, cache = saved(small(), tmp_path / "source"), PlanCache(tmp_path / "cache")
    first = build(model, tmp_path / "a", cache, "2", family="onnxruntime")
    second = build(model, tmp_path / "b", cache, "3", family="onnxruntime")
    assert len(checks) == 1 and first.rewrites.names == ("lrn_band",)
    assert replace(second.rewrites, seconds=0.0) == replace(first.rewrites, seconds=0.0)
    assert second.rewrites.kept[0].difference is not None
    made = [onnx.load(found.onnx.path) for found in (first, second)]
    assert [item.op_type for item in made[0].graph.node] == [item.op_type for item in made[1].graph.node]
    assert first.source.sha256 == second.source.sha256 == io.sha256_of(model)


def test_a_definition_keeps_its_own_source(tmp_path, checks):
    cache, source = PlanCache(tmp_path / "cache"), SourceRequest("squeezenet1_1")
    memory = RewriteMemory(cache, source.identity())
    found = []
    for name in ("a", "b"):
        request = replace(
            asked("squeezenet1_1", tmp_path / name, family="onnxruntime", precision="fp16", validate=False),
            rewrite="stem_space_to_depth",
        )
        found.append(convert(request, memory=memory).manifest)
    assert len(checks) == 1
    assert found[0].source == found[1].source and found[0].onnx.sha256 == found[1].onnx.sha256


def test_what_cannot_be_read_or_is_another_source_is_checked(tmp_path, checks):
    model, cache = saved(small(), tmp_path / "source"), PlanCache(tmp_path / "cache")
    build(model, tmp_path / "a", cache, "2", family="onnxruntime")
    (kept,) = (tmp_path / "cache" / "equal").iterdir()
    kept.write_text(json.dumps({"asked": "safe"}))
    build(model, tmp_path / "b", cache, "3", family="onnxruntime")
    assert len(checks) == 2
    other = small()
    other.graph.node[2].attribute[0].i = 3
    build(saved(other, tmp_path / "other"), tmp_path / "c", cache, "3", family="onnxruntime")
    assert len(checks) == 3


def test_a_memory_of_another_graph_is_not_believed(tmp_path, checks):
    """The same name of a source, and other places: what is made again is held against what was remembered."""
    model, cache = saved(small(), tmp_path / "source"), PlanCache(tmp_path / "cache")
    memory = RewriteMemory(cache, {"source": "one"})
    first = convert(asked(model, tmp_path / "a", validate=False, family="onnxruntime"), memory=memory).manifest
    renamed = small()
    renamed.graph.node[2].name = "another"
    other = saved(renamed, tmp_path / "renamed")
    second = convert(asked(other, tmp_path / "b", validate=False, family="onnxruntime"), memory=memory).manifest
    assert len(checks) == 2 and first.rewrites.replay != second.rewrites.replay
