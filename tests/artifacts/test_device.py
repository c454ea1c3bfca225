"""Names of devices as people type them, what a worker sees of them, and facts through JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from trtkit.artifacts.device import Device, DeviceFacts, parse_devices, processors, worker_env
from trtkit.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", (Device("cpu"),)),
        ("CPU ", (Device("cpu"),)),
        ("cuda", (Device("cuda", 0),)),
        ("gpu", (Device("cuda", 0),)),
        ("cuda:1", (Device("cuda", 1),)),
        ("gpu:1", (Device("cuda", 1),)),
        ("1,0", (Device("cuda", 1), Device("cuda", 0))),
        ("0,cpu", (Device("cuda", 0), Device("cpu"))),
        ("all", (Device("cuda", 0), Device("cuda", 1))),
        ("cpu*2", (Device("cpu", 0, 2), Device("cpu", 1, 2))),
        ("cpu:1/3", (Device("cpu", 1, 3),)),
        ("cpu*1", (Device("cpu"),)),
    ],
)
def test_names(text: str, expected: tuple[Device, ...]) -> None:
    assert parse_devices(text, gpus=2) == expected
    assert parse_devices(",".join(map(str, expected)), gpus=2) == expected


def test_all_is_the_cpu_where_there_is_no_gpu() -> None:
    assert parse_devices("all", gpus=0) == (Device("cpu"),)


@pytest.mark.parametrize(
    ("text", "gpus", "match"),
    [
        ("tpu", 1, "'tpu' is no device"),
        ("", 1, "No device"),
        (" , ", 1, "No device"),
        ("0,0", 1, "named twice"),
        ("cuda,0", 1, "named twice"),
        ("1", 1, "There is no cuda:1: the driver shows 1 CUDA device,"),
        ("cuda:0", 0, "the driver shows no CUDA device"),
        ("cuda:-1", 1, "no device"),
        ("cuda:²", 1, "no device"),
        ("all,cpu", 1, "'all' is no device"),
        ("cpu*0", 1, "no device"),
        ("cpu:2/2", 1, "none of 2 parts"),
        ("cpu:0/0", 1, "no device"),
    ],
)
def test_nonsense_is_refused_with_a_way_out(text: str, gpus: int, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        parse_devices(text, gpus=gpus)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("device", "environ", "visible"),
    [
        (Device("cuda", 2), {}, "2"),
        (Device("cuda", 1), {"CUDA_VISIBLE_DEVICES": "3,5"}, "5"),
        (Device("cuda", 0), {"CUDA_VISIBLE_DEVICES": " GPU-ab12 , GPU-cd34"}, "GPU-ab12"),
    ],
)
def test_a_worker_sees_its_gpu_alone(device: Device, environ: dict[str, str], visible: str) -> None:
    assert worker_env(device, environ) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}


def test_a_cpus_worker_needs_no_environment() -> None:
    assert worker_env(Device("cpu"), {"CUDA_VISIBLE_DEVICES": "1"}) == {}


@pytest.mark.parametrize(
    ("usable", "device", "expected"),
    [
        ({3, 1, 0, 2}, Device("cpu"), (0, 1, 2, 3)),
        ({0, 1, 2, 3}, Device("cpu", 0, 2), (0, 1)),
        ({0, 1, 2, 3}, Device("cpu", 1, 2), (2, 3)),
        ({4, 5, 6}, Device("cpu", 0, 2), (4,)),
        ({4, 5, 6}, Device("cpu", 1, 2), (5, 6)),
        ({0, 1}, Device("cpu", 2, 3), (1,)),
        ({7}, Device("cpu", 1, 3), (7,)),
        ({0, 1}, Device("cuda", 0), ()),
    ],
)
def test_the_processors_of_a_part(
    monkeypatch: pytest.MonkeyPatch, usable: set[int], device: Device, expected: tuple[int, ...]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: usable, raising=False)
    assert processors(device) == expected


def test_every_processor_belongs_to_exactly_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(13)), raising=False)
    for parts in range(1, 14):
        shares = [processors(Device("cpu", index, parts)) for index in range(parts)]
        assert sorted(number for share in shares for number in share) == list(range(13))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_facts_come_back_from_json() -> None:
    values: dict[str, Any] = {"compute_capability": "9.0", "power_limit_w": 700.0, "threads": 2, "affinity": (0, 1)}
    facts = DeviceFacts("cuda:0", "NVIDIA H100 80GB HBM3", **values)
    assert DeviceFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
