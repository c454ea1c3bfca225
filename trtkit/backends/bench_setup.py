"""What a benchmark needs before its clock runs: processors, inputs, facts of the device, and the spot check."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trtkit import metrics
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.model import TensorSpec
from trtkit.backends.base import LoadOptions, Runner
from trtkit.backends.bench_inputs import input_sets
from trtkit.backends.repeated import Samples
from trtkit.backends.timing import Timed
from trtkit.errors import RunError, UsageError
from trtkit.tensor_blocks import BLOCK
from trtkit.units import bytes_text

__all__ = ["check_outputs", "input_sets", "load_options", "pin", "with_shapes"]

_SECOND_COPY_BYTES = 1 << 30  # of inputs and outputs, above which an engine is not run whole a second time
_WHOLE_CHECK_BYTES = 64 << 20  # inputs and outputs up to this size are checked whole
_ROWS_AT_AN_END = 2  # of a large batch
_MANY_BYTES = 64 << 20  # of such rows, above which one at an end has to do


def pin(affinity: Sequence[int]) -> None:
    """Keep this thread, and all that it will start, on these processors; nothing for an empty list.

    Raises:
        UsageError: they are not all there, or the system cannot pin.
    """
    if not affinity:
        return
    try:
        os.sched_setaffinity(0, affinity)
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"This machine cannot pin a benchmark to processors {', '.join(map(str, affinity))}: {error}.",
            hint="Choose among those that the process may use, or leave the affinity out.",
        ) from error
    taken = os.sched_getaffinity(0)
    if missing := sorted(set(affinity) - taken):  # the system leaves these out without a word
        raise UsageError(
            f"This machine lets the process have no processor {', '.join(map(str, missing))}; "
            f"of those asked for it has {', '.join(map(str, sorted(taken)))}.",
            hint="Choose among those that the process may use, or leave the affinity out.",
        )


def load_options(settings: BenchSettings, device: Device, runtime_cache: Path | None, host_code: bool) -> LoadOptions:
    """How the plan is loaded; ONNX Runtime's threads are pinned one to a processor where their numbers are equal."""
    one_each = settings.affinity if settings.threads == len(settings.affinity) else ()
    return LoadOptions(
        on_cpu=device.kind == "cpu",
        tf32=settings.tf32,
        runtime_cache=runtime_cache,
        host_code=host_code,
        spinning=settings.spinning,
        optimize="all",
        threads=settings.threads if device.kind == "cpu" else None,
        affinity=one_each if device.kind == "cpu" else (),
    )


def with_shapes(inputs: Sequence[TensorSpec], settings: BenchSettings) -> BenchSettings:
    """The settings with a shape for every input: those given, the batch for a dynamic first axis, or fixed ones.

    Raises:
        UsageError: an axis is dynamic and no shape was given, or the plan's fixed batch is another one.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for spec in inputs:
        by_batch = tuple(settings.batch if axis == 0 and isinstance(d, str) else d for axis, d in enumerate(spec.shape))
        shape = settings.shapes.get(spec.name, by_batch)
        if any(isinstance(dim, str) for dim in shape):
            raise UsageError(
                f"Input {spec.text} has dynamic axes other than the batch.", hint="Give its shape, such as x=1x3x64x64."
            )
        shapes[spec.name] = tuple(int(dim) for dim in shape)
    if shapes and all(shape[:1] != (settings.batch,) for shape in shapes.values()):
        found = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items())
        raise UsageError(
            f"Batch {settings.batch} is not what the inputs have: {found}.",
            hint="Give the batch that the model is fixed to, or convert it with a dynamic batch.",
        )
    return replace(settings, shapes=shapes)


def check_outputs(
    timed: Timed, runner: Runner, sets: Sequence[Mapping[str, Samples]], settings: BenchSettings, limit: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run one iteration of the timed path, and hold its outputs against the runner's on the same inputs.

    Everything is looked at for NaN and infinity. Compared are all rows of a small batch, or the first and last two of a
    large one (or the first and the last, where rows are large); with a runner that takes no so few all of them, and
    these are handed on. Where that is more than 1 GiB of inputs and outputs, only the rows that are handed on are
    looked at, by whoever takes them.

    Args:
        timed: warm; its slots are free.
        runner: of the same plan.
        sets: the input sets that it was made with.
        settings: its settings.
        limit: largest relative L2 error, and largest share of unequal integers, that passes.

    Returns:
        ``finite``, ``not_finite`` (output → count), ``rows`` that are handed on, ``run_matches`` (``None`` where the
        runner did not take these rows: ``run_problem``), ``run_relative_l2`` (the largest; ``None`` where it is not
        defined) and ``run_limit``; and the rows themselves: ``in/NAME``, ``out/NAME``.

    Raises:
        RunError: the timed path failed.
    """
    timed.issue(0)
    timed.finish(0)
    given, found = sets[timed.set_of(0) % len(sets)], timed.outputs(0)
    counts = {name: _not_finite(array) for name, array in found.items() if array.dtype.kind == "f"}
    fixed = all(not isinstance(spec.shape[0], str) for spec in runner.inputs if spec.shape)
    rows, cut = _rows_to_check(given, found, settings.batch, runner.inputs)
    check: dict[str, Any] = {
        "finite": not any(counts.values()),
        "not_finite": {name: count for name, count in counts.items() if count},
        "rows": rows if rows is not None else "all",
        "run_matches": None,
        "run_relative_l2": None,
        "run_limit": limit,
    }
    arrays = {
        **{f"in/{name}": array for name, array in _picked(given, rows, cut).items()},
        **{f"out/{name}": array for name, array in _picked(found, rows).items()},
    }
    size = _bytes(given, found)
    if fixed and rows is not None and size > _SECOND_COPY_BYTES:
        why = f"the engine takes all {settings.batch} samples or none, {bytes_text(size)} once more beside those timed"
        return {**check, "run_problem": why}, arrays
    picked, outputs = (_picked(given, None), found) if fixed else (_picked(given, rows, cut), _picked(found, rows))
    try:
        truth = runner.run(picked)
        agrees, error = _compared(truth, outputs, limit)
        if not agrees and rows is not None and not fixed:
            # A model may mix the samples of a batch: then only the whole batch can be compared.
            whole = _picked(given, None)
            truth, outputs = runner.run(whole), found
            check["rows"] = "all"
            arrays = {f"in/{name}": array for name, array in whole.items()}
            arrays |= {f"out/{name}": array for name, array in found.items()}
            agrees, error = _compared(truth, outputs, limit)
    except RunError as problem:  # too few rows for the plan's profile, or no memory for a second copy of the buffers
        return {**check, "run_problem": problem.message}, arrays
    except MemoryError:
        return {**check, "run_problem": f"{bytes_text(size)} once more do not fit into this machine's memory"}, arrays
    for name, want in truth.items():
        if outputs[name].shape != want.shape:
            raise RunError(
                f"The timed path gives output {name} the shape {outputs[name].shape}, a plain run {want.shape}.",
                hint="Report this: it is a bug in trtkit.",
            )
    return {**check, "run_matches": agrees, "run_relative_l2": error}, arrays


def _compared(
    truth: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], limit: float
) -> tuple[bool, float | None]:
    """Whether the timed path agrees with a plain run, and its largest relative L2 error (``None`` if not defined)."""
    errors: list[float | None] = []
    agrees = True
    for name, want in truth.items():
        if outputs[name].shape != want.shape:
            return False, None
        error, equal = metrics.nearness(want, outputs[name].astype(want.dtype, copy=False))
        if want.dtype.kind == "f":
            errors.append(error)
            near = error is not None and error <= limit
        else:
            near = 1 - (1.0 if equal is None else equal) <= limit
        agrees = agrees and (near or equal in (None, 1.0))
    known = [error for error in errors if error is not None]
    return agrees, max(known, default=None) if len(known) == len(errors) else None


def _picked(
    arrays: Mapping[str, Samples], rows: list[int] | None, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """These rows of all arrays, or of those that are named."""
    cut = arrays if names is None else names
    return {
        name: np.asarray(array) if rows is None or name not in cut else array[rows] for name, array in arrays.items()
    }


def _rows_to_check(
    given: Mapping[str, Samples], found: Mapping[str, np.ndarray], batch: int, inputs: Sequence[TensorSpec]
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Which rows, and of which inputs; ``None`` for all: a small batch, or outputs without a row for each image.

    The batch is what is dynamic. In an engine for a single shape nothing is: its one input is taken for images, and
    among several nobody can tell.
    """
    images = tuple(spec.name for spec in inputs if spec.shape and isinstance(spec.shape[0], str))
    if not images and len(inputs) == 1:
        images = (inputs[0].name,)
    size = _bytes(given, found)
    at_an_end = _ROWS_AT_AN_END if 2 * _ROWS_AT_AN_END * size <= batch * _MANY_BYTES else 1
    few = size <= _WHOLE_CHECK_BYTES or batch <= 2 * at_an_end
    by_image = bool(images) and all(
        array.shape[:1] == (batch,) for array in (*(given[name] for name in images), *found.values())
    )
    if few or not by_image:
        return None, images
    return [*range(at_an_end), *range(batch - at_an_end, batch)], images


def _bytes(given: Mapping[str, Samples], found: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in (*given.values(), *found.values()))


def _not_finite(array: np.ndarray) -> int:
    """How many elements are NaN or infinite, a part after the other."""
    flat = array.reshape(-1)
    parts = (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))
    return sum(int(np.count_nonzero(~np.isfinite(part))) for part in parts)
