"""Why a batch does not run, told from what runtimes really said."""

from __future__ import annotations

import pytest

from trtkit.backends.null_timed import FAILURES
from trtkit.errors import RunError
from trtkit.measurement.failure import REASONS, classify
from trtkit.measurement.ladder import REASONS as EXPLAINED

SAID: list[tuple[str, str]] = [
    # TensorRT-RTX 1.6.1, GoogLeNet FP16, batch 8192, on 80 GB
    (
        "Executing the plan failed: Cuda Runtime (In allocateAsync at common.cpp:112: out of memory); "
        "[myelinGraphContext] Myelin ([impl.cpp:1391: exec] run-time allocation failed)",
        "device_memory",
    ),
    ("Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)", "device_memory"),
    ("CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);", "device_memory"),
    (
        "ONNX Runtime failed while executing the model: [ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status "
        "code returned while running Conv node. Status Message: bfc_arena.cc:359 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of "
        "size 3221225472",
        "device_memory",
    ),
    ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", "device_memory"),
    ("cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY", "device_memory"),
    # trtkit's own
    ("The device memory is used up: cudaMalloc of 8589934592 bytes: out of memory.", "device_memory"),
    ("The host has no memory left that can be pinned: cudaHostAlloc: out of memory.", "host_memory"),
    ("The GPU memory could not be allocated: 24.1 GiB", "device_memory"),
    # TensorRT
    (
        "IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, condition: "
        "engineDims.d[i] == dims.d[i]. Static dimension mismatch while setting input shape for input.)",
        "profile",
    ),
    (
        "IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, condition: "
        "satisfyProfile. Set dimension [4096,3,224,224] for tensor input does not satisfy any optimization profiles.)",
        "profile",
    ),
    ("Input input: dimension 0 is 4096, outside of the plan's profile 1…2048", "profile"),
    (
        "ONNX Runtime failed while executing the model: [ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid "
        "dimensions for input: x for the following indices index: 0 Got: 8 Expected: 1 Please fix either the inputs/"
        "outputs or the model.",
        "profile",
    ),
    (
        "Error Code 4: Internal Error (conv1: volume of 3288334336 exceeds the limit of 2^31-1 elements)",
        "element_limit",
    ),
    ("tensor volume exceeds 2147483647", "element_limit"),
    ("narrowing error", "element_limit"),
    (
        "Tactic request: 5120MB Available: 1024MB. Device memory is insufficient to use tactic; workspace",
        "workspace",
    ),
    ("insufficient workspace: the engine needs 4096 bytes of scratch memory and got 1024", "workspace"),
    # worker.answer and NumPy
    (
        "The worker process of the benchmark of a.onnx at batch 64 on cpu was killed by SIGKILL (most likely by the "
        "operating system because memory ran out).",
        "host_memory",
    ),
    ("Host memory ran out in the benchmark of a.onnx at batch 64 on cpu (peak 20.1 GiB).", "host_memory"),
    ("Unable to allocate 36.8 GiB for an array with shape (65536, 3, 224, 224)", "host_memory"),
    ("std::bad_alloc", "host_memory"),
    ("cuMemHostAlloc: out of memory: 4.0 GiB of pinned memory", "host_memory"),
    ("The worker process of the benchmark of a.plan at batch 64 on cuda:0 did not finish within 1 min 0 s.", "timeout"),
    ("The worker process of x was killed by SIGSEGV (a memory error inside the vendor's library).", "other"),
    ("TensorRT-RTX could not start the execution: enqueue returned False", "other"),
    ("cuDNN: CUDNN_STATUS_EXECUTION_FAILED", "other"),
]


@pytest.mark.parametrize(("said", "reason"), SAID, ids=range(len(SAID)))
def test_a_message_tells_the_reason(said: str, reason: str) -> None:
    assert classify(RunError(said, hint="Lower the batch.")) == reason


@pytest.mark.parametrize(("said", "reason"), SAID, ids=range(len(SAID)))
def test_a_log_tells_it_where_the_message_says_nothing(said: str, reason: str) -> None:
    error = RunError("Executing the plan failed: enqueue returned False", hint="See the log.", log=("loaded", said))
    assert classify(error) == reason


def test_the_message_counts_before_the_log() -> None:
    error = RunError("did not finish within 60 s", hint="Wait.", log=("out of memory (a tactic was skipped)",))
    assert classify(error) == "timeout"


@pytest.mark.parametrize("reason", FAILURES)
def test_what_the_null_family_scripts_is_recognized(reason: str) -> None:
    assert classify(RunError(FAILURES[reason], hint="Lower the batch.")) == reason


def test_the_ladder_explains_every_reason() -> None:
    assert set(REASONS) == set(EXPLAINED)
    assert {reason for _, reason in SAID} == set(REASONS)


def test_on_a_cpu_the_device_memory_is_the_hosts() -> None:
    error = RunError("bfc_arena.cc:359 Failed to allocate memory for requested buffer", hint="Lower the batch.")
    assert classify(error) == "device_memory"
    assert classify(error, on_cpu=True) == "host_memory"
    assert classify(RunError("did not finish within 60 s", hint="Wait."), on_cpu=True) == "timeout"
