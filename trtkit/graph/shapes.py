"""From the options --batch and --shapes to an optimization profile, with one clear error for each mistake."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange, shape_text
from trtkit.errors import UsageError

__all__ = ["DEFAULT_BATCH", "parse_range", "resolve_profile"]

DEFAULT_BATCH = "1:32:128"
"""Range of a dynamic batch axis where ``--batch`` is not given."""

_LARGEST = 2**31 - 1  # TensorRT's dimensions reach further, but no profile does
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class _Origin:
    """A range and the option it came from, for the error when another one contradicts it."""

    sizes: Triple
    source: str


def parse_range(text: str, option: str) -> Triple:
    """``1:32:128`` → ``(1, 32, 128)``; one number stands for all three.

    Raises:
        UsageError: not one or three whole numbers, one below 1, or not MIN ≤ OPT ≤ MAX. ``option`` names the culprit.
    """
    sizes = tuple(_size(part, f"{option} {text}") for part in text.split(":"))
    text = _clip(text)
    if len(sizes) not in (1, 3):
        raise UsageError(
            f"{option} {text} has {len(sizes)} numbers; it takes MIN:OPT:MAX, or one number for all three.",
            hint=f"Write for example {option} {DEFAULT_BATCH}.",
        )
    low, best, high = sizes * 3 if len(sizes) == 1 else sizes
    if not low <= best <= high:
        raise UsageError(
            f"{option} {text} is not in order: it must be MIN ≤ OPT ≤ MAX.",
            hint=f"Write {option} {':'.join(map(str, sorted((low, best, high))))}.",
        )
    return low, best, high


def _clip(text: str) -> str:
    """What the user wrote, cut to a readable length."""
    return text if len(text) <= 120 else text[:117] + "…"


def _size(text: str, context: str) -> int:
    digits = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", digits):
        raise UsageError(
            f"{_clip(context)}: {_clip(text)!r} is not a whole number.",
            hint="Sizes are whole numbers of 1 or more, such as 1x3x224x224 or 1:32:128.",
        )
    size = int(digits)
    if not 1 <= size <= _LARGEST:
        raise UsageError(
            f"{_clip(context)}: a size of {size} is not possible.", hint=f"Give sizes from 1 to {_LARGEST}."
        )
    return size


def resolve_profile(inputs: Sequence[TensorSpec], batch: str | None, shapes: Sequence[str]) -> OptimizationProfile:
    """The profile that ``--batch`` and ``--shapes`` describe for a model's inputs.

    An input named in ``--shapes`` takes its range from there. For the others, a dimension whose name another input's
    ``--shapes`` has settled takes that range, and a dynamic first dimension takes ``--batch`` (``1:32:128`` by
    default).

    Args:
        inputs: the model's inputs; equal names of dimensions mean equal sizes.
        batch: ``MIN:OPT:MAX`` or one number, or ``None`` if not given.
        shapes: each ``NAME=SHAPE`` or ``NAME=MIN:OPT:MAX`` with shapes such as ``1x3x224x224``; NAME may hold ``:``
            and ``=``.

    Raises:
        UsageError: every mistake its own, ending with what to write instead.
    """
    specs = {spec.name: spec for spec in inputs}
    given: dict[str, ShapeRange] = {}
    for text in shapes:
        name, shape_range = _parse_shapes(text, specs)
        if name in given:
            raise UsageError(f"--shapes names the input {name!r} twice.", hint="Give each input one --shapes.")
        given[name] = shape_range
    symbols: dict[str, _Origin] = {}
    for name, shape_range in given.items():
        _settle(specs[name], shape_range, symbols)
    _use_batch(inputs, batch, given, symbols)
    _all_settled([spec for spec in inputs if spec.name not in given], symbols)
    ranges = {spec.name: given.get(spec.name) or _fill(spec, symbols) for spec in inputs}
    return OptimizationProfile(ranges, _batch_inputs(inputs, ranges))


def _batch_inputs(inputs: Sequence[TensorSpec], ranges: dict[str, ShapeRange]) -> tuple[str, ...]:
    """The inputs whose first dimension is the batch axis.

    The first input with a dynamic first dimension has it, and so has every other whose first dimension has the same
    range. A name that is also the name of a later dimension (a sequence length) is no batch axis.
    """
    later = {dim for spec in inputs for dim in spec.shape[1:]}
    leading = [s.name for s in inputs if s.shape and isinstance(s.shape[0], str) and s.shape[0] not in later]
    triples = {name: [corner[0] for corner in ranges[name].corners] for name in leading}
    return tuple(name for name in leading if triples[name] == triples[leading[0]])


def _parse_shapes(text: str, specs: dict[str, TensorSpec]) -> tuple[str, ShapeRange]:
    """One ``--shapes`` option. The last ``=`` divides, since names may hold ``=`` and shapes never do."""
    name, equals, ranges = text.rpartition("=")
    text = _clip(text)
    example = next((s for s in specs.values() if s.is_dynamic), next(iter(specs.values()), None))
    hint = f"Write for example {_example(example)}." if example else "The model has no inputs."
    if not equals or not name or not ranges:
        raise UsageError(f"--shapes {text} is not of the form NAME=SHAPE or NAME=MIN:OPT:MAX.", hint=hint)
    if name not in specs:
        close = difflib.get_close_matches(name, specs, n=1)
        raise UsageError(
            f"--shapes {text}: the model has no input {name!r}. Its inputs are: {_inputs_text(specs)}.",
            hint=f"Did you mean {close[0]!r}?" if close else hint,
        )
    spec = specs[name]
    parts = [tuple(_size(size, f"--shapes {text}") for size in _split(part)) for part in ranges.split(":")]
    if len(parts) not in (1, 3):
        raise UsageError(
            f"--shapes {text} has {len(parts)} shapes; it takes MIN:OPT:MAX, or one shape for all three.",
            hint=f"Write for example {_example(spec)}.",
        )
    for part in parts:
        if len(part) != len(spec.shape):
            raise UsageError(
                f"--shapes {text}: {shape_text(part)} has {len(part)} dimensions, and the input {spec.name!r} has "
                f"{len(spec.shape)}: {shape_text(spec.shape)}.",
                hint=f"Write for example {_example(spec)}.",
            )
        for axis, (size, dim) in enumerate(zip(part, spec.shape, strict=True)):
            if isinstance(dim, int) and size != dim:
                raise UsageError(
                    f"--shapes {text}: dimension {axis} of the input {spec.name!r} is fixed at {dim} in the model, "
                    f"so it cannot be {size}. The model's shape is {shape_text(spec.shape)}.",
                    hint=f"Write {dim} there, or export the model with that dimension dynamic.",
                )
    low, best, high = parts * 3 if len(parts) == 1 else parts
    for axis, sizes in enumerate(zip(low, best, high, strict=True)):
        if list(sizes) != sorted(sizes):
            raise UsageError(
                f"--shapes {text} is not in order: dimension {axis} goes {sizes[0]}, {sizes[1]}, {sizes[2]}, and it "
                "must be MIN ≤ OPT ≤ MAX.",
                hint="Write the smallest shape first and the largest last.",
            )
    return name, ShapeRange(low, best, high)


def _split(shape: str) -> list[str]:
    return shape.replace("×", "x").replace("X", "x").split("x")


def _settle(spec: TensorSpec, shape_range: ShapeRange, symbols: dict[str, _Origin]) -> None:
    """Note which range each dimension name got from this input's ``--shapes``; refuse a second, different one."""
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, str):
            sizes = (shape_range.minimum[axis], shape_range.optimum[axis], shape_range.maximum[axis])
            _agree(dim, _Origin(sizes, f"--shapes for {spec.name!r} (dimension {axis})"), symbols)


def _agree(dim: str, origin: _Origin, symbols: dict[str, _Origin]) -> None:
    other = symbols.setdefault(dim, origin)
    if other.sizes != origin.sizes:
        raise UsageError(
            f"The dimension {dim!r} has one size wherever it appears in the model, and gets two ranges: "
            f"{_triple_text(other.sizes)} from {other.source}, {_triple_text(origin.sizes)} from {origin.source}.",
            hint=f"Give {dim!r} the same MIN:OPT:MAX in both.",
        )


def _use_batch(
    inputs: Sequence[TensorSpec], batch: str | None, given: dict[str, ShapeRange], symbols: dict[str, _Origin]
) -> None:
    """Enter the batch range for every dynamic first dimension that ``--shapes`` left open."""
    sizes = parse_range(batch if batch is not None else DEFAULT_BATCH, "--batch")
    dynamic = [spec for spec in inputs if spec.shape and isinstance(spec.shape[0], str)]
    if batch is not None and not dynamic:
        texts = _inputs_text({spec.name: spec for spec in inputs})
        raise UsageError(
            f"--batch {batch}: the model has no dynamic batch axis. Its inputs are: {texts}.",
            hint="Leave --batch out, or export the model with a dynamic first dimension.",
        )
    open_specs = [spec for spec in dynamic if spec.name not in given]
    if batch is not None and not open_specs:
        raise UsageError(
            f"--batch {batch} has no effect: --shapes gives every input with a dynamic first dimension its range.",
            hint="Leave out --batch or --shapes.",
        )
    for spec in open_specs:
        dim = str(spec.shape[0])
        if batch is not None:
            _agree(dim, _Origin(sizes, f"--batch (for {spec.name!r})"), symbols)
        else:
            symbols.setdefault(dim, _Origin(sizes, "the default --batch"))


def _all_settled(open_specs: Sequence[TensorSpec], symbols: dict[str, _Origin]) -> None:
    """One error for all inputs that still lack a range, so that one more command is enough."""
    lacking = {spec: [dim for dim in spec.shape if isinstance(dim, str) and dim not in symbols] for spec in open_specs}
    lacking = {spec: missing for spec, missing in lacking.items() if missing}
    if lacking:
        names = ", ".join(dict.fromkeys(dim for missing in lacking.values() for dim in missing))
        told = ", ".join(f"{spec.name!r} ({shape_text([_short(dim) for dim in spec.shape])})" for spec in lacking)
        subject = f"The input {told} has" if len(lacking) == 1 else f"The inputs {told} have"
        raise UsageError(
            f"{subject} dynamic dimensions without a range: {names}.",
            hint=f"Write {' '.join(_example(spec, symbols) for spec in lacking)} with numbers for {names}.",
        )


def _fill(spec: TensorSpec, symbols: dict[str, _Origin]) -> ShapeRange:
    """The range of an input without ``--shapes``, from fixed sizes and settled names."""
    triples = [symbols[dim].sizes if isinstance(dim, str) else (dim, dim, dim) for dim in spec.shape]
    return ShapeRange(*(tuple(sizes[which] for sizes in triples) for which in range(3)))


def _example(spec: TensorSpec, symbols: dict[str, _Origin] | None = None) -> str:
    """An option for this input as one would write it, unknown dimensions stand there by name or as ``?``."""
    batch = parse_range(DEFAULT_BATCH, "--batch")
    shapes = []
    for which in range(3):
        dims: list[int | str] = []
        for axis, dim in enumerate(spec.shape):
            if isinstance(dim, int):
                dims.append(dim)
            elif symbols and dim in symbols:
                dims.append(symbols[dim].sizes[which])
            else:
                dims.append(batch[which] if axis == 0 else _short(dim))
        shapes.append(shape_text(dims))
    return f"--shapes '{spec.name}={':'.join(dict.fromkeys(shapes))}'"


def _short(dim: int | str) -> int | str:
    """A dimension inside a shape; ``?`` for names that cannot be told from the shape (``p2o_Dynamic_0x3xpixels``)."""
    return "?" if isinstance(dim, str) and (len(dim) > 8 or "x" in dim) else dim


def _inputs_text(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(f"{spec.name!r} {shape_text(spec.shape)}" for spec in list(specs.values())[:8]) or "none"


def _triple_text(sizes: Triple) -> str:
    return ":".join(map(str, sizes))
