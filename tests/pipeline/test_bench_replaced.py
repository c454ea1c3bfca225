"""A measurement that takes another one's place says so, with what differs; one of the same thing does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.artifacts.test_scale import share
from tests.measurement.scripted import clean
from tests.pipeline.test_bench_rows import Machine, Notes, row
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device, processors
from trtkit.artifacts.files import write_json
from trtkit.artifacts.scale import ScaleResult
from trtkit.backends.base import Capabilities
from trtkit.cli.bench_lists import batches_of
from trtkit.errors import UsageError
from trtkit.pipeline.bench_choices import too_many_threads
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_replaced import replaced, replaced_scale
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_rows import run_row
from trtkit.stages.export import SourceRequest


def test_other_settings_are_named_and_the_same_are_not(tmp_path: Path) -> None:
    file = tmp_path / "net.b1.compute.bench.json"
    first = clean(settings={"duration_s": 3.0, "affinity": (0, 1)})
    assert replaced(file, first) is None, "there is nothing to replace"
    write_json(file, first.to_json())
    assert replaced(file, first) is None, "measured again"
    other = clean(settings={"duration_s": 0.5, "affinity": (0,), "threads": 1})
    said = replaced(file, other)
    assert said is not None and said.startswith("replaced net.b1.compute.bench.json, which was measured with ")
    assert "duration_s 3, now 0.5" in said and "affinity 0,1, now 0" in said and "threads" in said
    engine = replaced(file, clean(settings={"duration_s": 3.0, "affinity": (0, 1)}, subject={"version": "9.9"}))
    assert engine is not None and "now 9.9" in engine


def test_many_differences_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "x.bench.json"
    write_json(file, clean().to_json())
    many = {"duration_s": 9.0, "warmup_s": 9.0, "seed": 9, "depth": 9, "buffers": 9, "min_iterations": 99}
    said = replaced(file, clean(settings=many))
    assert said is not None and said.count(", now ") == 4 and "and 2 more" in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": 1, "subject": {}, "device": {}}'])
def test_what_cannot_be_read_is_said(tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.bench.json"
    file.write_text(content)
    assert replaced(file, clean()) == "replaced x.bench.json, which could not be read"


def test_a_run_of_other_devices_is_named(tmp_path: Path) -> None:
    file = tmp_path / "net.b8.compute.scale.json"
    two = ScaleResult((share("cpu:0/2", 10.0, 10.0), share("cpu:1/2", 10.0, 10.0)))
    assert replaced_scale(file, two) is None
    write_json(file, two.to_json())
    assert replaced_scale(file, two) is None, "measured again"
    said = replaced_scale(file, ScaleResult((share("cpu", 10.0, 10.0),)))
    assert said is not None and "measured with devices cpu:0/2,cpu:1/2, now cpu; another folder" in said
    file.write_text("{}")
    assert replaced_scale(file, two) == f"replaced {file.name}, which could not be read"


def test_a_row_says_it_before_it_writes(tmp_path: Path) -> None:
    first, again, other = Notes(), Notes(), Notes()

    class Longer(Machine):
        def __call__(self, prepared, target, settings, seconds):  # type: ignore[no-untyped-def]
            found = super().__call__(prepared, target, settings, seconds)
            return clean(settings={**vars(found.settings), "duration_s": settings.duration_s}, timeline=found.timeline)

    for notes, seconds in ((first, 3.0), (again, 3.0), (other, 1.0)):
        run_row(row(tmp_path, 8, settings=BenchSettings("compute", 0, duration_s=seconds)), Longer(64), notes)
    assert first.notes == again.notes == []
    assert other.notes == [
        "replaced net.fp16.null.cuda0.b8.compute.bench.json, which was measured with duration_s 3, now 1; "
        "another folder (-o) keeps both"
    ]


def asked(**settings: object) -> BenchmarkRequest:
    return BenchmarkRequest(SourceRequest("alexnet"), settings=settings)


def test_more_threads_than_processors_are_noticed() -> None:
    cpu = Target(Device("cpu"), Capabilities("onnxruntime", "1"), "asked for")
    count = len(processors(Device("cpu")))
    said = too_many_threads(asked(threads=400), cpu)
    assert said is not None and f"--threads 400 is more than the {count} processor" in said
    assert f"--threads {count} uses all" in said
    assert too_many_threads(asked(threads=count), cpu) is too_many_threads(asked(), cpu) is None
    one = too_many_threads(asked(threads=2, affinity=(0,)), cpu)
    assert one is not None and "more than the 1 processor that" in one
    assert too_many_threads(asked(threads=400), Target(Device("cuda"), cpu.can, "")) is None


@pytest.mark.parametrize(("text", "sizes"), [("auto,3", "3"), ("3,AUTO", "3"), ("1, auto ,8", "1,8")])
def test_auto_among_sizes_says_how_to_have_both(text: str, sizes: str) -> None:
    with pytest.raises(UsageError, match="auto chooses the sizes itself") as caught:
        batches_of(text, None)
    assert f"--batch auto, then --batch {sizes}: " in str(caught.value.hint)
