"""Benchmarks that contradict themselves, the model or the machine."""

from __future__ import annotations

from tests.bad_inputs.case import BadInput, Files, onnx_file, raw_file
from tests.graph.models import relu, value
from trtkit.errors import ModelError, PlanError, TrtkitError, UsageError

__all__ = ["CASES"]

_MODEL = onnx_file(relu)
_STATIC = onnx_file(lambda: relu(inputs=[value("x", (2, 4))], outputs=[value("y", (2, 4))]))


def _case(
    name: str,
    options: str,
    message: str,
    hint: str = ".",
    *,
    error: type[TrtkitError] = UsageError,
    files: Files = _MODEL,
    source: str = "model.onnx",
) -> BadInput:
    return BadInput(f"bench {name}", f"bench {source} --device cpu {options}", error, message, hint, files)


CASES = (
    BadInput("bench no source", "bench", UsageError, "Missing argument", "trtkit bench --help"),
    _case("unknown source", "", "neither a model definition nor a file", "squeezenet1_1", source="squeezenet"),
    _case("missing file", "", r"gone\.onnx does not exist", ".", error=ModelError, source="gone.onnx"),
    _case("missing plan", "", r"m\.plan does not exist", "trtkit convert", error=PlanError, source="m.plan"),
    _case(
        "no plan",
        "",
        "unknown binary data",
        ".",
        error=PlanError,
        files=raw_file(b"\xff" * 99, "m.plan"),
        source="m.plan",
    ),
    _case("unknown family", "--family openvino", "no family 'openvino'", "tensorrt-rtx"),
    _case("unknown device", "--device tpu", "'tpu' is no device", "cuda:N"),
    _case("gpu that is not there", "--device 77", "There is no cuda:77", "trtkit doctor"),
    _case("unknown precision", "--precision fp64", "no precision 'fp64'; allowed: fp32", "Choose"),
    _case("precision twice", "--precision fp16,fp16", "named twice", "once"),
    _case("quantized", "--precision int8", "needs calibration", "trtkit convert --precision int8"),
    _case("tf32 on a cpu", "--precision tf32", "no TF32 arithmetic on a CPU", "fp32"),
    _case("batch in words", "--batch many", "neither a list of whole numbers nor auto", "1,8,64"),
    _case("batch zero", "--batch 0,1", "whole numbers from 1 up", "1,8,64"),
    _case("batch range", "--batch 1:8:16", "neither a list of whole numbers nor auto", "1,8,64"),
    _case("batch of a fixed model", "--batch 4", "Batch 4 is not possible, 2 alone is", ".", files=_STATIC),
    _case("auto in a list", "--batch auto,3", "auto chooses the sizes itself", "--batch 3"),
    _case("list and ladder", "--batch 1,2 --batch-sweep auto", "looks for the batch sizes itself", "either"),
    _case("sweep of numbers", "--batch-sweep 1,2", "--batch-sweep is auto, not '1,2'", "--batch"),
    _case("limit without a ladder", "--sweep-limit 8", "largest batch that --batch auto tries", "--batch auto"),
    _case("edge without a ladder", "--sweep-within 5", "how closely --batch auto looks", "Add auto"),
    _case(
        "edge in words", "--batch auto --sweep-within close", "no percentage from 0 to below 100", "--sweep-within 5%"
    ),
    _case("edge beyond all", "--batch auto --sweep-within 100%", "no percentage from 0 to below 100", "5%"),
    _case("unknown mode", "--mode fast", "no mode 'fast'; allowed: compute, compute-graph", "Choose"),
    _case("mode of a gpu", "--mode overlapped", "no mode overlapped on the cpu", "--mode compute"),
    _case("all and one", "--mode all,compute", "--mode all is every mode", "alone"),
    _case("durations", "--duration 5 --max-duration 1", "shorter than --duration", "Raise --max-duration"),
    _case("confidence", "--confidence 2", "no share between 0 and 1", r"0\.01"),
    _case("affinity", "--affinity 3-1", "no list of processors", "0-3"),
    _case("input type", "--input-dtype int4", "input_dtype is 'int4'; it is float32 or uint8", "Choose"),
    _case("profile", "--profile mine", "no profile 'mine'; allowed: each, shared", "Choose"),
    _case("layers of onnx runtime", "--export-layer-info l.json", "--export-layer-info cannot", "--family"),
    _case("data that is not there", "--data gone.npy", r"gone\.npy does not exist", r"\.npy or \.npz"),
    _case("weights of a file", "--weights w.npz", "holds its own weights", "Leave --weights out"),
    _case("parts of nothing", "--devices cpu*0", "'cpu\\*0' is no device", "cpu\\*N"),
    _case("part that is not there", "--devices cpu:2/2", "cpu:2/2 is none of 2 parts", "cpu:0/2 to cpu:1/2"),
    _case("device twice", "--devices cpu:0/2,cpu:0/2", "named twice", "once"),
    _case("parts that overlap", "--devices cpu,cpu:0/2", "cpu and cpu:0/2 would work on the same processor", "cpu\\*2"),
    _case("plan of no device", "--plan plan.plan", "is not DEVICE=FILE", "cuda:1=FILE"),
    _case("plan of a device that is left out", "--plan cuda:1=x.plan", "what is measured is cpu", "--device"),
    _case("rendezvous without a port", "--rendezvous node0", "is not understood", "HOST:PORT"),
    _case("rendezvous without brackets", "--rendezvous ::1:5000,0,2", "is not understood", "in brackets"),
    _case("rendezvous beyond the size", "--rendezvous a:5000,2,2", "2 of 2 is no rank and size", "0"),
    _case("rendezvous without a launcher", "--rendezvous a:5000", "none was found", "HOST:PORT,RANK,SIZE"),
    _case("ladder on several", "--devices cpu*2 --batch auto", "the largest batch of one device", "--batch N"),
    _case("times of several", "--devices cpu*2 --export-times t.json", "--export-times is of one device", "one device"),
    _case("alone of one device", "--no-alone", "--no-alone is about several devices .* one device", "--devices"),
    _case("ranks of one process", "--ranks-per-device 2", "--ranks-per-device 2 .* one rank", "mpirun"),
    _case(
        "ranks of several devices", "--devices cpu*2 --ranks-per-device 2", "--ranks-per-device 2 .* one rank", "mpi"
    ),
    _case("csv over the model", "--devices cpu*2 --csv model.onnx", "--csv model.onnx would be written over", "own"),
    _case("shapes of no input", "--shapes imput=1x4", "no input 'imput'", "--shapes"),
    _case("shapes of another batch", "--shapes x=4x4 --batch 2", "Batch 2 .* 4 alone is: --shapes x=4x4 says", "batch"),
)
