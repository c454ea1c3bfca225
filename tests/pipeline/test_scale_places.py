"""Which devices a rank takes, what ranks must have in common, and plans that do not fit."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import onnx
import pytest

from tests.contract.test_families import conv_net
from tests.pipeline.test_bench_rows import Notes
from tests.ranks.test_meeting import together
from trtkit.artifacts.device import Device
from trtkit.artifacts.plan import PlanManifest
from trtkit.backends.capabilities import Gpu
from trtkit.errors import BuildError, PlanError, RunError, TrtkitError, UsageError
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.scale_agreement import first_failure, on_the_wire, refuse_differences, terms
from trtkit.pipeline.scale_fit import check_fit
from trtkit.pipeline.scale_places import OwnPlace, devices_of_rank, find_own_place
from trtkit.pipeline.scaling import ScalingRequest, scale
from trtkit.ranks import Lost, Meeting, Place
from trtkit.stages.export import SourceRequest


def place(local_rank: int, local_size: int, *, cores: int = 8, bound: bool = False) -> OwnPlace:
    return OwnPlace(local_rank, local_size, cores, 0 if bound else local_rank, 1 if bound else local_size)


def taken(asked: str | None, size: int, gpus: int, **more: Any) -> list[str]:
    per_device = more.pop("per_device", 1)
    return [
        devices_of_rank(asked, place(rank, size, **more), gpus=lambda: gpus, per_device=per_device)
        for rank in range(size)
    ]


@pytest.mark.parametrize(
    ("asked", "size", "gpus", "more", "expected"),
    [
        (None, 2, 2, {}, ["cuda:0", "cuda:1"]),
        ("all", 2, 8, {}, ["cuda:0", "cuda:1"]),
        ("cuda", 2, 2, {}, ["cuda:0", "cuda:1"]),
        (None, 2, 0, {}, ["cpu:0/2", "cpu:1/2"]),
        (None, 4, 2, {"per_device": 2}, ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]),
        ("1,0", 2, 2, {}, ["1", "0"]),
        ("cuda:3,cpu", 2, 4, {}, ["cuda:3", "cpu"]),
        ("cuda:1", 2, 2, {"per_device": 2}, ["cuda:1", "cuda:1"]),
        ("cpu", 4, 0, {"cores": 4}, ["cpu:0/4", "cpu:1/4", "cpu:2/4", "cpu:3/4"]),
        ("CPU", 2, 2, {"bound": True}, ["cpu", "cpu"]),
    ],
)
def test_each_rank_takes_its_own(
    asked: str | None, size: int, gpus: int, more: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert taken(asked, size, gpus, **more) == expected


def test_a_rank_that_was_given_one_gpu_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert taken(None, 4, 1) == ["cuda:0"] * 4


@pytest.mark.parametrize(
    ("asked", "size", "gpus", "more", "said"),
    [
        (None, 3, 2, {}, "3 ranks on this machine, and 2 GPUs"),
        ("all", 2, 0, {}, "2 ranks on this machine, and 0 GPUs"),
        (None, 5, 2, {"per_device": 2}, "5 ranks on this machine, and 2 GPUs"),
        ("0,1", 3, 4, {}, "3 ranks on this machine, and --device names 2: 0,1"),
        ("cpu", 3, 0, {"cores": 2}, "3 ranks on 2 cores"),
        ("cpu", 2, 2, {"per_device": 2}, "--ranks-per-device 2 is about GPUs"),
        (None, 2, 0, {"per_device": 2}, "--ranks-per-device 2 is about GPUs"),
    ],
)
def test_sharing_is_refused(
    asked: str | None, size: int, gpus: int, more: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UsageError, match=said) as caught:
        taken(asked, size, gpus, **more)
    assert caught.value.hint


def own_places(
    size: int,
    cores: list[set[int]],
    hosts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    said: list[dict[str, Any]] | None = None,
    machines: list[str] | None = None,
    **more: Any,
) -> list[Any]:
    """Every rank's place; ``said`` are its terms."""
    by_thread: dict[int, int] = {}
    monkeypatch.setattr("trtkit.pipeline.scale_places._usable", lambda: cores[by_thread[threading.get_ident()]])
    boots = machines or hosts
    monkeypatch.setattr("trtkit.pipeline.scale_places.machine", lambda: boots[by_thread[threading.get_ident()]])

    def job(meeting: Meeting) -> Any:
        by_thread[threading.get_ident()] = meeting.rank
        try:
            return find_own_place(
                meeting,
                Place(meeting.rank, size, host=hosts[meeting.rank]),
                (said or [{}] * size)[meeting.rank],
                **more,
            )
        except UsageError as error:
            return error.message

    return together(size, job)


def test_ranks_are_counted_by_machine_and_a_launchers_cores_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["a", "b", "a", "b"]
    found = own_places(4, [{0}, {0, 1}, {1}, {0, 1}], hosts, monkeypatch)
    assert [(own.local_rank, own.local_size, own.cores, own.part_of_cpu) for own in found] == [
        (0, 2, 2, "cpu"),
        (0, 2, 2, "cpu:0/2"),
        (1, 2, 2, "cpu"),
        (1, 2, 2, "cpu:1/2"),
    ]
    assert found[0].hosts == tuple(hosts) == tuple(own.host for own in found)


def test_ranks_that_a_launcher_binds_to_sockets_divide_each_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = {0, 1, 2, 3}, {4, 5, 6, 7}
    found = own_places(4, [first, first, second, second], ["a"] * 4, monkeypatch, wanted="cpu")
    assert [own.part_of_cpu for own in found] == ["cpu:0/2", "cpu:1/2", "cpu:0/2", "cpu:1/2"]


@pytest.mark.parametrize(
    ("cores", "more", "said"),
    [
        (
            [{0, 1}, {1, 2}],
            {"wanted": "cpu"},
            "Rank 0 on a (cpu) and rank 1 on a (cpu) would work on the same processor 1",
        ),
        (
            [{0}, {0}, {1, 2}, {3}],
            {"wanted": "cpu"},
            "Rank 0 on a (cpu:0/2) and rank 1 on a (cpu:1/2) would work on the same",
        ),
        ([{0, 1}] * 2, {"wanted": "cpu", "affinity": (0, 1)}, "would work on the same processors 0, 1"),
        ([{0, 1}] * 2, {"wanted": "cpu:0/2,cpu"}, "Rank 0 on a (cpu:0/2) and rank 1 on a (cpu) would work on the same"),
        ([{0, 1}] * 2, {"wanted": "cuda:0,cpu"}, None),
        ([{0, 1}, {1, 2}], {"wanted": "all"}, None),
    ],
)
def test_ranks_on_the_same_processors_are_refused_on_all_ranks(
    cores: list[set[int]], more: dict[str, Any], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in own_places(len(cores), cores, ["a"] * len(cores), monkeypatch, **more):
        assert said in found if said else isinstance(found, OwnPlace)


def test_containers_of_one_machine_are_told_apart_by_name_and_may_not_share_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = own_places(2, [{0, 1}] * 2, ["a", "b"], monkeypatch, machines=["boot"] * 2, wanted="cpu")
    assert all("Rank 0 on a (cpu) and rank 1 on b (cpu) would work on" in message for message in found)


def test_machines_of_one_name_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = ["boot 1", "boot 2", "boot 2"]
    found = own_places(3, [{0}, {0}, {1}], ["localhost"] * 3, monkeypatch, machines=machines, wanted="cpu")
    assert [(own.host, own.local_rank, own.local_size) for own in found] == [
        ("localhost#1", 0, 1),
        ("localhost#2", 0, 2),
        ("localhost#2", 1, 2),
    ]


@pytest.mark.parametrize(
    ("devices", "settings", "said"),
    [
        ("cpu,cpu:0/2", {}, "cpu and cpu:0/2 would work on the same processor"),
        ("cpu:0/2,cpu:1/3", {}, "cpu:0/2 and cpu:1/3 would work on the same processor"),
        ("cpu*5", {}, "would work on the same processor 0"),
        ("cpu*2", {"affinity": (0,)}, "cpu:0/2 and cpu:1/2 would work on the same processor 0: they would take turns"),
    ],
)
def test_parts_of_one_process_that_overlap_are_refused_before_anything_begins(
    devices: str, settings: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    onnx.save(conv_net(), tmp_path / "net.onnx")
    bench = BenchmarkRequest(
        SourceRequest(str(tmp_path / "net.onnx")), devices=devices, batches=(8,), settings=settings
    )
    notes = Notes()
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        scale(ScalingRequest(replace(bench, output=tmp_path / "out", cache=False)), notes)
    assert "no more than it has processors" in caught.value.hint
    assert notes.stages == []


def test_ranks_with_other_options_are_refused_on_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [{"--batch": [8], "trtkit": "1"}, {"--batch": [8], "trtkit": "1"}, {"--batch": [16], "trtkit": "1"}]
    found = own_places(3, [{0}] * 3, ["a", "a", "b"], monkeypatch, said)
    assert found == ["Rank 2 on b was started with --batch 16, and rank 0 with 8."] * 3


def asked(**changes: Any) -> ScalingRequest:
    more = {name: changes.pop(name) for name in ("alone", "ranks_per_device") if name in changes}
    return ScalingRequest(BenchmarkRequest(SourceRequest("x"), **{"batches": (8,), **changes}), **more)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batches": ()}, "--batch none, and rank 0 with 8"),
        ({"modes": ("transfers",)}, "--mode transfers, and rank 0 with none"),
        ({"precisions": ("fp16",)}, "--precision fp16"),
        ({"settings": {"duration_s": 9}}, "setting duration_s 9, and rank 0 with none"),
        ({"alone": False}, "--no-alone True, and rank 0 with False"),
        ({"family": "tensorrt"}, "--family tensorrt, and rank 0 with auto"),
    ],
)
def test_differences_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"Rank 1 on b was started with {said}"):
        refuse_differences([terms(asked()), terms(asked(**changes))], ["a", "b"])


def test_another_version_is_refused_and_other_devices_folders_and_plans_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = terms(asked())
    refuse_differences([one, terms(asked(devices="cuda:1", output=Path("elsewhere")))], ["a", "b"])
    monkeypatch.setattr("trtkit.__version__", "9.9")
    with pytest.raises(UsageError, match=r"started with trtkit 9\.9, and rank 0 with"):
        refuse_differences([one, terms(asked())], ["a", "b"])


def well(runs: int = 1, error: Exception | None = None) -> dict[str, Any]:
    return {"runs": runs, "error": on_the_wire(error)}


def test_the_first_failure_keeps_its_class_its_hint_and_its_rank() -> None:
    assert first_failure([well(), well()], ["a", "b"]) is None
    broken = BuildError("The builder died.", hint="Free memory.", log=("line",))
    found = first_failure([well(), well(error=broken)], ["a", "b"])
    assert isinstance(found, BuildError)
    assert (found.message, found.hint, found.log) == ("rank 1 on b: The builder died.", "Free memory.", ("line",))
    common = first_failure([well(error=broken)] * 2, ["a", "b"])
    assert common is not None and common.message == "The builder died."


def test_a_bug_a_loss_and_different_numbers_of_runs_are_failures() -> None:
    bug = first_failure([well(), well(error=ZeroDivisionError("division by zero"))], ["a", "b"])
    assert isinstance(bug, RunError) and bug.message == "rank 1 on b: ZeroDivisionError: division by zero"
    lost = first_failure([well(), Lost(1, "silent for 4 s")], ["a", "b"])
    assert isinstance(lost, RunError) and lost.message == "Rank 1 on b is lost: silent for 4 s."
    more = first_failure([well(), well(5)], ["a", "b"])
    assert isinstance(more, UsageError) and "Rank 1 on b would make 5 measurements, and rank 0 1" in more.message
    assert all(isinstance(error, TrtkitError) and error.hint for error in (bug, lost, more))


def test_a_plan_for_other_gpus_is_refused_by_name() -> None:
    gpus = (Gpu(0, "NVIDIA H100", "9.0", 1), Gpu(1, "NVIDIA L4", "8.9", 1))
    manifest = cast(PlanManifest, SimpleNamespace(file="net.plan", targets=("9.0",)))

    def target(device: Device) -> Target:
        return cast(Target, SimpleNamespace(device=device, can=SimpleNamespace(gpus=gpus)))

    check_fit(manifest, target(Device("cuda", 0)))
    check_fit(manifest, target(Device("cpu")))
    with pytest.raises(
        PlanError, match=r"net\.plan was built for compute capability 9\.0; cuda:1 \(NVIDIA L4\) has 8\.9"
    ) as caught:
        check_fit(manifest, target(Device("cuda", 1)))
    assert "--plan cuda:1=FILE" in caught.value.hint


def test_usable_processors_are_this_processs_own() -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("the system has no affinity")
    from trtkit.pipeline.scale_places import _usable

    assert _usable() == os.sched_getaffinity(0)
    assert replace(place(0, 1), hosts=("a",)).hosts == ("a",)


def test_ranks_measure_one_model(tmp_path: Path) -> None:
    def of(text: str, seed: int = 0) -> dict[str, Any]:
        return terms(ScalingRequest(BenchmarkRequest(SourceRequest(text, seed=seed), batches=(8,))))

    for name in ("a", "same", "b"):
        model = conv_net()
        model.producer_name = "other" if name == "b" else "one"
        onnx.save(model, tmp_path / f"{name}.onnx")
    refuse_differences([of(str(tmp_path / "a.onnx")), of(str(tmp_path / "same.onnx"))], ["a", "b"])
    refuse_differences([of("one.plan"), of("two.plan")], ["a", "b"])
    for one, other in (
        (of("alexnet"), of("googlenet")),
        (of("alexnet"), of("alexnet", seed=5)),
        (of(str(tmp_path / "a.onnx")), of(str(tmp_path / "b.onnx"))),
    ):
        with pytest.raises(UsageError, match=r"Rank 1 on b was started with the model .*, and rank 0 with "):
            refuse_differences([one, other], ["a", "b"])
