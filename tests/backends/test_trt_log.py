"""What vendors write into their logs, as they wrote it, and what becomes of it."""

from __future__ import annotations

import pytest

from trtkit.backends.trt_log import LogBook, build_error, refusal
from trtkit.errors import BuildError, PlanError

NOISE = "createInferBuilder: Error Code 6: API Usage Error (CUDA initialization failure with error: 35)"


class Listener:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def progress(self, phase: str, step: int, steps: int | None, parent: str | None = None) -> None:
        raise AssertionError("a log reports no progress")

    def log(self, severity: str, text: str) -> None:
        self.lines.append((severity, text))


def book_of(*errors: str) -> LogBook:
    book = LogBook()
    for text in errors:
        book.write("error", text)
    return book


def test_messages_are_sorted_kept_and_passed_on() -> None:
    listener = Listener()
    book = LogBook(listener)
    for severity, text in [
        ("info", "hello"),
        ("warning", "odd"),
        ("warning", "odd"),
        ("error", "bad"),
        ("error", NOISE),
        ("verbose", "Layers:\nName: a"),
        ("verbose", "Layers of thinking"),
        ("verbose", "anything"),
    ]:
        book.write(severity, text)
    assert (book.errors, book.warnings) == (["bad"], ["odd"])
    assert book.layer_messages == ["Layers:\nName: a"]
    assert listener.lines == [("info", "hello"), ("warning", "odd"), ("error", "bad")]


def test_noise_is_told_only_where_nothing_else_is() -> None:
    assert book_of(NOISE, "the reason").last_errors() == "the reason"
    assert "error: 35" in book_of(NOISE).last_errors()
    assert book_of().last_errors() == ""


def test_last_errors_are_single_short_lines() -> None:
    said = book_of(*(f"error {n}\n  on two lines {'x' * 900}" for n in range(9))).last_errors(count=2)
    assert "\n" not in said and said.startswith("error 7 on two lines") and "error 8" in said and len(said) < 900


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("Error Code 1: Cuda Runtime (out of memory)", True),
        ("Error Code 2: OutOfMemory (Requested size was 1073741824 bytes.)", True),
        ("Skipping tactic 0 due to insufficient memory on requested size of 4096", True),
        ("Requested amount of GPU memory (1 bytes) could not be allocated. There may not be enough free memory", True),
        ("Myelin ([myelinTaskManager] run-time allocation failed)", True),
        ("std::bad_alloc", True),
        ("Could not find any implementation for node conv1", False),
    ],
)
def test_messages_about_memory_are_recognised(text: str, memory: bool) -> None:
    assert book_of(text).ran_out_of_memory is memory


def test_the_cause_counts_though_many_consequences_follow() -> None:
    book = book_of("Cuda Runtime (out of memory)", *(f"consequence {n}" for n in range(9)))
    assert "lower --batch" in build_error(book, "", "TensorRT 11", "m.onnx").hint
    assert "Free device memory" in refusal(book, "TensorRT 11", "m.plan").hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Cuda Runtime (out of memory)", "lower --batch"),
        ("Could not find any implementation for node conv1.", "Raise --workspace"),
        (
            "Cannot compile for target(s) sm86, because the model contains HW-specific datatypes: fp8_e4m3",
            "8.9 or newer",
        ),
        ("Tactic Selection: no tactics to implement the operation within workspace limit.", "Raise --workspace"),
        ("Cannot compile operation 'fc' for Turing (SM75): FP32 GEMM is not supported", "Leave 7.5 out"),
        ("Unable to load library: libnvinfer_lean.so.1", "Read the builder's messages"),
    ],
)
def test_build_errors_say_what_may_help(text: str, hint: str) -> None:
    error = build_error(book_of(text), "Invalid Engine", "TensorRT-RTX 1.7.1.116", "m.onnx")
    assert isinstance(error, BuildError) and hint in error.hint and error.log == (text,)
    assert error.message == f"TensorRT-RTX 1.7.1.116 could not build a plan from m.onnx: {text}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("The engine cannot run on this GPU, which has compute capability 9.0", "kind of GPU"),
        (
            "The engine has been created with TensorRT-RTX version 1.6.1, but the current runtime is TensorRT-RTX "
            "version 1.7.1. Rebuild the engine",
            "version that built it",
        ),
        ("Using an engine plan file across different models of devices is not supported", "kind of GPU"),
        ("", "Build the plan again"),
    ],
)
def test_refusals_say_what_may_help(text: str, hint: str) -> None:
    error = refusal(book_of(*filter(None, [text])), "TensorRT-RTX 1.7.1.116", "m.plan")
    assert isinstance(error, PlanError) and hint in error.hint
    assert error.message == f"TensorRT-RTX 1.7.1.116 refuses m.plan: {text or 'it gives no reason'}"
