"""Time, memory, accuracy and size of calibration: ``python -m tests.perf.calibrate --help``. Needs no GPU.

Weights of SqueezeNet 1.1 come from ``python -m tests.perf.squeezenet_weights``; photographs for calibration and other
ones for scoring are folders of images. Time is compared with plain inference of the same images in the same run: the
same decoding and the same session options, only the final output asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import onnx

from calibration.dataset import DataSpec
from calibration.job_data import JobData
from calibration.preprocess import load_preprocessing
from tests.perf import qdq_layers
from tests.perf.measure import MIB, Row, alternate, run, trtkit, write
from trtkit import worker
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.backends import registry
from trtkit.graph import io
from trtkit.graph.outputs import softmax_axes
from trtkit.graph.placement import Recipe, place
from trtkit.graph.qdq import insert
from trtkit.quant import quant_type
from trtkit.stages.export import SourceRequest, export
from trtkit.worker.protocol import Reporter

__all__ = ["main", "plain", "rows_of"]


def plain(report: Reporter, *, data: dict[str, Any], model: str) -> dict[str, Any]:
    """A worker's job: read all samples and run the model on them, nothing else."""
    from trtkit.backends import ort

    wanted = JobData.from_json(data)
    dataset, chosen, _ = wanted.open()
    session = ort.session(Path(model))
    samples = 0
    for batch in dataset.batches(chosen, wanted.batch):
        session.run(None, batch.feeds)
        samples += len(batch.ids)
    return {"samples": samples}


def enlarged(photos: Path, count: int, folder: Path) -> Path:
    """A folder of ``count`` files: those of ``photos`` in turn, under names of their own."""
    files = sorted(path for path in photos.iterdir() if path.is_file())
    folder.mkdir()
    for index in range(count):
        source, target = files[index % len(files)], folder / f"{index:06}{files[index % len(files)].suffix}"
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    return folder


def calibrated(model: str, photos: Path, out: Path, *options: str, watch: bool = False) -> dict[str, Any]:
    """One ``trtkit calibrate``: seconds and bytes, and its own report."""
    shutil.rmtree(out, ignore_errors=True)
    done = run(trtkit("calibrate", model, "--data", str(photos), "-o", str(out), *options), watch=watch)
    report = json.loads((out / f"{model}.calibration-report.json").read_text(encoding="utf-8"))
    return {"seconds": done.seconds, "largest_bytes": done.largest_bytes, "report": report}


def _entropy(batch: int) -> tuple[str, ...]:
    return ("--method", "entropy", "--holdout", "0", "--batch", str(batch))


def time_beside_plain(model: str, photos: Path, rounds: int, batch: int, scratch: Path) -> dict[str, Any]:
    """The collecting worker's job beside a worker that only reads and infers, in alternation; seconds."""
    exported = export(SourceRequest(model, None, 0))
    fp32 = io.save(exported.model, scratch / f"{model}.fp32.onnx", name=model, precision="fp32")
    preprocessing = _own_preprocessing(model)
    data = JobData(DataSpec(source=str(photos)), io.specs(exported.model)[0], preprocessing, 0, 0, batch)
    reports: list[dict[str, Any]] = []

    def collect() -> float:
        reports.append(calibrated(model, photos, scratch / "timed", *_entropy(batch)))
        return float(reports[-1]["report"]["timings_s"]["collect"])

    def infer() -> float:
        answer = worker.run(
            "tests.perf.calibrate:plain",
            {"data": data.to_json(), "model": str(fp32.path.absolute())},
            what="plain inference",
            env=registry.worker_env("onnxruntime"),
        )
        return answer.seconds

    ours, bare = alternate(rounds, collect, infer)
    return {
        "collect_s": ours,
        "plain_s": bare,
        "command_s": [report["seconds"] for report in reports],
        "parts_s": [report["report"]["timings_s"] for report in reports],
        "int8_bytes": (scratch / "timed" / f"{model}.int8.onnx").stat().st_size,
        "fp32_bytes": fp32.path.stat().st_size,
    }


def _own_preprocessing(model: str) -> Preprocessing:
    import model_defs

    return model_defs.get(model).preprocessing


def accuracy(
    model: str, weights: Path, photos: Path, unseen: Path, preprocess: str, options: tuple[str, ...], scratch: Path
) -> dict[str, Any]:
    """Calibrate with every method, then score the thresholds that it chose itself on photographs it never saw."""
    out = scratch / "accuracy"
    given = ("--weights", str(weights), "--preprocess", preprocess, "--method", "all", *options)
    given += ("--rewrite", "none")  # the thresholds are scored below in the plain graph
    found = calibrated(model, photos, out, *given)
    report = found["report"]
    table = CalibrationTable.read(out / f"{model}.calibration.json")
    exported = export(SourceRequest(model, weights, 0))
    placement = place(exported.model, Recipe(), "int8")
    convolutions = {node.name for node in exported.model.graph.node if node.op_type == "Conv"}
    reference, candidate = scratch / "reference.onnx", scratch / "candidate.onnx"
    io.save(exported.model, reference, name=model, precision="fp32")
    neutral = dict.fromkeys(placement.tensors, 1.0)
    quantized = insert(exported.model, placement, neutral, quant_type("int8"), scales_as_inputs=True)
    io.save(quantized, candidate, name="candidate", precision="int8")
    inputs, outputs = io.specs(exported.model)
    size = inputs[0].shape[-2:]
    side = (int(size[0]), int(size[1]))
    data = JobData(DataSpec(source=str(unseen)), inputs, load_preprocessing(preprocess, side), 0, 0, 8)
    answer = worker.run(
        "calibration.score_jobs:score",
        {
            "data": data.to_json(),
            "reference": str(reference.absolute()),
            "candidate": str(candidate.absolute()),
            "amax": {method["method"]: method["amax"] for method in found["report"]["methods"]}
            | {"chosen": table.amax},
            "dtype": "int8",
            "softmax_axes": softmax_axes(exported.model),
            "classes": len(outputs) == 1 and len(outputs[0].shape) == 2,
            "everything": True,
        },
        what="scoring on unseen photographs",
        env=registry.worker_env("onnxruntime"),
    )
    return {
        "unseen": answer.value["accuracy"],
        "method": table.method,
        "because": report["chosen_because"],
        "held_out": {method["method"]: method["accuracy"] for method in report["methods"]},
        "samples": report["samples"],
        "search": report["search"],
        "parts_s": report["timings_s"],
        "seconds": found["seconds"],
        "convolutions": len(convolutions),
        "float_convolutions": [d.node for d in placement.decisions if d.node in convolutions and not d.quantized],
    }


def engine(file: Path) -> dict[str, Any]:
    """What TensorRT-RTX makes of a calibrated Q/DQ file; products that a rewrite made are counted as convert does."""
    table = CalibrationTable.read(file.with_name(file.name.replace(".int8.onnx", ".calibration.json")))
    found = qdq_layers.measure(onnx.load(file), "int8", "8.6")
    proof = found.proof
    return {
        "parsed": found.parsed,
        "compute": sum(found.kinds.values()),
        "kinds": dict(found.kinds),
        "float": [node.name for node in (*proof.stayed, *proof.unproven)],
        "sentence": proof.sentence,
        "plan_bytes": found.plan_bytes,
        "rewrites": list(table.rewrites),
    }


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The table of the calibrate issue, section "Numbers to reach"; parts that were not measured are left out."""
    return [*_time_rows(found), *_memory_rows(found), *_accuracy_rows(found), *_file_rows(found)]


def _time_rows(found: dict[str, Any]) -> list[Row]:
    if "time" not in found:
        return []
    time, what = found["time"], f"{found['model']}, {found['images']} images, entropy"
    ratios = [ours / bare for ours, bare in zip(time["collect_s"], time["plain_s"], strict=True)]
    parts = {name: median(part[name] for part in time["parts_s"]) for name in ("inference", "statistics")}
    return [
        Row(
            f"{what}: time of calibration",
            median(time["collect_s"]),
            "s",
            1.3,
            median(time["plain_s"]),
            "(plain inference, decoding counted)",
            how="ratio",
            note=f"ratios {', '.join(f'{ratio:.2f}' for ratio in ratios)}; of it inference {parts['inference']:.2f} s, "
            f"statistics {parts['statistics']:.2f} s; elsewhere: ONNX Runtime 29.4 s, ModelOpt 23.0 s",
            samples=time["collect_s"],
        ),
        Row(
            f"{what}: the whole command",
            median(time["command_s"]),
            "s",
            beside=median(time["plain_s"]),
            beside_name="(plain inference)",
            how="ratio",
            note="only reported: with the export of both models, and the start of two processes",
            samples=time["command_s"],
        ),
    ]


def _memory_rows(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    peaks = {int(count): size / MIB for count, size in found.get("memory", {}).items()}
    for count, peak in peaks.items():
        what, note = f"{found['model']}, {count} images: peak of the largest process", ""
        if not rows:
            note = "elsewhere: ONNX Runtime 7962 MiB, ModelOpt 1092 MiB"
            rows.append(Row(what, peak, "MiB", 500.0, note=note))
            continue
        first = next(iter(peaks))
        note = "ONNX Runtime dies at 1024" if count == 1024 else ""
        rows.append(Row(what, peak, "MiB", 1.05, peaks[first], f"({first} images)", how="ratio", note=note))
    return rows


def _accuracy_rows(found: dict[str, Any]) -> list[Row]:
    if "accuracy" not in found:
        return []
    got = found["accuracy"]
    seen, name = got["unseen"]["chosen"], found["accurate_model"]
    others = "; ".join(
        f"{method} {scores['sqnr_db']:.2f} / {scores['top1_agreement']:.3f}"
        for method, scores in got["unseen"].items()
        if method != "chosen"
    )
    return [
        Row(
            f"{name}, {seen['samples']} unseen photographs: SQNR",
            seen["sqnr_db"],
            "dB",
            27.0,
            relation=">",
            note=f"95 % {seen['sqnr_low_db']:.2f}–{seen['sqnr_high_db']:.2f}; chosen: {got['method']} "
            f"({got['because']}); elsewhere: ModelOpt 25.1, ONNX Runtime 20.8; all methods here: {others}",
        ),
        Row(
            f"{name}, {seen['samples']} unseen photographs: top-1 agreement",
            seen["top1_agreement"],
            "",
            0.85,
            relation="≥",
            note=f"95 % {seen['top1_low']:.3f}–{seen['top1_high']:.3f}; elsewhere: ModelOpt 0.85, ONNX Runtime 0.75",
        ),
        Row(
            f"{name}: convolutions left in float",
            len(got["float_convolutions"]),
            "",
            0,
            note=f"of {got['convolutions']}",
        ),
    ]


def _file_rows(found: dict[str, Any]) -> list[Row]:
    rows = []
    if "time" in found:
        files, name = found["time"], found["model"]
        rows.append(
            Row(
                f"{name}: INT8 ONNX",
                files["int8_bytes"] / MIB,
                "MiB",
                0.27,
                files["fp32_bytes"] / MIB,
                "(FP32 ONNX)",
                how="ratio",
                note="elsewhere: ModelOpt 2–4 × larger",
            )
        )
    if "engine" in found:
        made, name = found["engine"], found["model"]
        kgen = made["kinds"].get("kgen", 0)
        rows += [
            Row(
                f"{name}, TensorRT-RTX: layers parsed",
                made["parsed"],
                reach=582,
                note=f"rewrites: {', '.join(made['rewrites']) or 'none'}; elsewhere, of the plain graph: "
                "ONNX Runtime 1082, best 586",
            ),
            Row(
                f"{name}, TensorRT-RTX: compute layers of the plan",
                made["compute"],
                reach=110,
                note="about 110",
            ),
            Row(f"{name}, TensorRT-RTX: of these kgen", kgen, reach=36, relation="<", note="36; FP32: 6"),
            Row(
                f"{name}, TensorRT-RTX: Conv and Gemm not INT8",
                len(made["float"]),
                reach=0,
                note=made["sentence"],
            ),
        ]
    return rows


def _remarks(found: dict[str, Any]) -> str:
    text = (
        "Time: the job of the collecting worker (opening and hashing the data, decoding, session, inference, "
        "histograms, thresholds) beside a worker's job that opens, decodes and infers the same images with the same "
        "session options; both without the start of the process. Larger folders hold the same photographs again under "
        "other names; `--holdout 0` throughout, except for accuracy."
    )
    if "accuracy" in found:
        text += (
            " Accuracy: `--method all` chose the thresholds on samples that it held out itself "
            f"({found['accuracy']['samples']} photographs calibrated); they are scored on other photographs."
        )
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.calibrate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for calibrate.md and calibrate.json")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs to calibrate with")
    parser.add_argument("--weights", type=Path, help="of the accurate model; without it accuracy is not measured")
    parser.add_argument("--unseen", type=Path, help="folder of other photographs, to score on")
    parser.add_argument("--model", default="googlenet", help="definition to measure time, memory and layers on")
    parser.add_argument("--accurate-model", default="squeezenet1_1", help="definition that --weights belongs to")
    parser.add_argument("--preprocess", default="caffe", help="of the accurate model's weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--images", type=int, nargs="+", default=[256, 1024, 4096], help="sizes for the memory")
    parser.add_argument("--search-seconds", type=float, default=120.0)
    parser.add_argument("--skip-engine", action="store_true", help="do not build the plan")
    args = parser.parse_args(arguments)
    if (args.weights is None) != (args.unseen is None):
        parser.error("--weights and --unseen belong together")
    found: dict[str, Any] = {"model": args.model, "accurate_model": args.accurate_model, "images": args.images[0]}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folders = {count: enlarged(args.photos, count, scratch / f"photos{count}") for count in args.images}
        _say("time beside plain inference")
        found["time"] = time_beside_plain(args.model, folders[args.images[0]], args.rounds, args.batch, scratch)
        if not args.skip_engine:
            _say("layers")
            found["engine"] = engine(scratch / "timed" / f"{args.model}.int8.onnx")
        if args.weights is not None:
            _say("accuracy")
            options = ("--search-seconds", str(args.search_seconds))
            found["accuracy"] = accuracy(
                args.accurate_model,
                args.weights,
                args.photos,
                args.unseen.absolute(),
                args.preprocess,
                options,
                scratch,
            )
        found["memory"] = {}
        for count, folder in folders.items():
            _say(f"memory at {count} images")
            done = calibrated(args.model, folder, scratch / "memory", *_entropy(args.batch), watch=True)
            found["memory"][count] = done["largest_bytes"]
    rows = rows_of(found)
    print(write(args.out, "calibrate", "Calibration on a CPU", rows, {"found": found}, _remarks(found)))
    return 0 if all(row.met is not False for row in rows) else 1


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
