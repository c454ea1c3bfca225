"""Tables 1 and 2: hardware and software, and the theoretical peaks."""

from __future__ import annotations

from collections.abc import Sequence

from trtkit.artifacts.device import DeviceFacts
from trtkit.artifacts.study_peaks import is_measured
from trtkit.report.numbers import significant
from trtkit.report.tables import Table, Value
from trtkit.report.view import View, anchor, order_of_precision
from trtkit.units import bytes_text

__all__ = ["hardware_table", "peak_table"]


_SINGLE = ("fp32", "tf32", "fp16", "int8", "fp8")


def hardware_table(view: View) -> Table:
    """Table 1: what measured; versions that differ between runs are all listed."""
    environments = [cell.run.environment for cell in view.study.cells if cell.run is not None] or [
        view.study.environment
    ]
    rows: list[tuple[str, str]] = []
    for name, title in (("cpu", "Processor"), ("cores", "Processor cores usable"), ("platform", "Operating system")):
        rows.append((title, _all(str(found[name]) for found in environments if found.get(name) is not None)))
    memory = {found["memory_bytes"] for found in environments if found.get("memory_bytes")}
    rows.append(("Memory", _all(bytes_text(size) for size in sorted(memory))))
    devices = {
        (cell.run.device.name, cell.run.device.device): cell.run.device
        for cell in view.study.cells
        if cell.run is not None
    }
    rows += [
        (f"Device {facts.device}", _device(facts)) for _, facts in sorted(devices.items(), key=lambda item: item[0][1])
    ]
    executed = {
        f"{cell.run.subject.family} {cell.run.subject.version}" for cell in view.study.cells if cell.run is not None
    }
    rows.append(("Executed by", _all(sorted(executed))))
    rows.append(("Python", _all(str(found["python"]) for found in environments if found.get("python"))))
    plan = view.study.plan
    weights = [f"{model}: {text[:-48]}…" for model, text in plan.weights.items()]  # the hash's beginning
    weights += [f"seed {plan.seed} for all without a file"] if plan.seed else []
    rows += [("Weights", "; ".join(weights))] if weights else []
    packages: dict[str, dict[str, None]] = {}
    for found in environments:
        for package, version in found.get("packages", {}).items():
            packages.setdefault(str(package), {})[str(version)] = None
    rows.append(
        ("Packages", ", ".join(f"{name} {' and '.join(found)}" for name, found in packages.items()) or "unknown")
    )
    return Table(
        "hardware",
        "Table 1: hardware and software.",
        (("What", False), ("Found", False)),
        tuple((Value(title), Value(text)) for title, text in rows),
    )


def _all(texts: object) -> str:
    found = list(dict.fromkeys(str(text) for text in texts))  # type: ignore[attr-defined]
    return "; ".join(found) or "unknown"


def _device(facts: DeviceFacts) -> str:
    parts = [facts.name]
    if facts.compute_capability:
        parts.append(f"compute capability {facts.compute_capability}")
    if facts.memory_bytes:
        parts.append(bytes_text(facts.memory_bytes))
    if facts.pcie:
        parts.append(f"PCIe {facts.pcie}")
    if facts.power_limit_w:
        parts.append(f"power limit {significant(facts.power_limit_w)} W")
    if facts.max_sm_clock_mhz:
        parts.append(f"SM clock up to {facts.max_sm_clock_mhz:,} MHz")
    if facts.driver:
        parts.append(f"driver {facts.driver}")
    if facts.cuda:
        parts.append(f"CUDA {facts.cuda}")
    if facts.threads:
        parts.append(f"{facts.threads} threads")
    if facts.affinity:
        parts.append(f"pinned to processors {ranges(facts.affinity)}")
    return ", ".join(parts)


def ranges(numbers: Sequence[int]) -> str:
    """``(0, 1, 2, 3, 8)`` → ``0-3, 8``, as Linux lists processors."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, span)) for span in found)


def peak_table(view: View) -> Table:
    """Table 2: theoretical peaks of the devices found, and of those in the published figures."""
    found: dict[str, dict[str, Value]] = {}
    for cell in view.study.cells:
        if cell.run is None or cell.run.peak_ops_per_s is None:
            continue
        tera = cell.run.peak_ops_per_s / 1e12
        observed = (cell.run.subject.observed or cell.spec.precision).lower()
        ran = observed if observed in _SINGLE else cell.spec.precision
        if is_measured(cell.run):  # matrix products in FP32, whatever the model computed in
            ran = "fp32"
        entry = Value(significant(tera), tera, anchor(cell), "number")
        row = found.setdefault(f"{cell.run.device.name} ({cell.run.peak_source or 'source unknown'})", {})
        if tera > (row[ran].sort or 0 if ran in row else 0):  # a processor's is measured anew for each run
            row[ran] = entry
    published: dict[str, dict[str, Value]] = {}
    if any(model in view.reference.macs for model in view.models):
        for peak in view.reference.peaks:
            tera = float(peak["tera_ops_per_s"])
            entry = Value(significant(tera), tera, f"#source-{peak['source']}", "number")
            published.setdefault(f"{peak['device']} (published)", {})[str(peak["precision"])] = entry
    entries = {**found, **published}
    precisions = sorted({name for row in entries.values() for name in row}, key=order_of_precision)
    for name in (name for _, name in view.devices if not any(row.startswith(name) for row in found)):
        entries = {name: {}, **entries}
    rows = tuple(
        (
            Value(name),
            *(
                row.get(precision, Value("unknown" if not row else "–", None, "", "number muted"))
                for precision in precisions
            ),
        )
        for name, row in entries.items()
    )
    columns = (("Device", False), *((name.upper(), True) for name in precisions))
    return Table(
        "peaks",
        "Table 2: peaks in 10¹² operations a second: theoretical and dense, of a processor the measured rate.",
        columns,
        rows,
    )
