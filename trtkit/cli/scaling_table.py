"""One measurement of several devices at the terminal: a row a device, their sum, and what is to be said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from trtkit.artifacts.scale import Share
    from trtkit.pipeline.scaling import Scaled

__all__ = ["show"]


def show(scaled: Scaled, console: Console) -> None:
    """Print one measurement of several devices."""
    from rich.table import Table
    from rich.text import Text

    from trtkit.cli.bench_tables import number

    result = scaled.result
    name = scaled.file.name.removesuffix(".scale.json")
    devices = f"{len(result.shares)} device{'s' * (len(result.shares) != 1)}"
    launcher = "" if result.ranks == 1 else f", {result.ranks} ranks by {result.launcher}"
    console.print(Text.assemble((name, "bold green"), f"  {devices}{launcher}"))
    table = Table(box=None, pad_edge=False, header_style="cyan", padding=(0, 2, 0, 0))
    for head in ("device", "images/s", "alone", "efficiency", "p50 ms", "W", "verdict"):
        table.add_column(head, justify="left" if head in ("device", "verdict") else "right", no_wrap=True)
    for share in result.shares:
        found = share.phases.get("together")
        verdict = "" if found is None or found.result.verdict.valid else "INVALID"
        table.add_row(
            result.label(share),
            number(share.together_images_per_s),
            number(share.alone_images_per_s),
            _percent(share.efficiency),
            number(found.result.timeline.summary()["latency"]["p50_ms"])
            if found and len(found.result.timeline)
            else "",
            number(_watts(share)),
            "failed" if share.problem else verdict,
            style="red" if share.problem or verdict else "",
        )
    table.add_row(
        "all",
        number(result.total_images_per_s),
        number(result.sum_of_alone_images_per_s),
        _percent(result.efficiency),
        style="bold",
    )
    console.print(table)
    for label, text in _below(scaled):
        grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        grid.add_column(style="bold red" if label in ("INVALID", "failed") else "cyan", no_wrap=True, min_width=9)
        grid.add_column(overflow="fold")
        grid.add_row(f"  {label}", Text(text))
        console.print(grid)


def _below(scaled: Scaled) -> list[tuple[str, str]]:
    result = scaled.result
    lines = [("failed", f"{result.label(share)}: {share.problem}") for share in result.shares if share.problem]
    seen: dict[str, list[str]] = {}
    for share in result.shares:
        for phase in share.phases.values():
            for finding in phase.result.verdict.reasons:
                seen.setdefault(f"{finding.text} {finding.next_step}", []).append(result.label(share))
    lines += [("INVALID", f"{', '.join(dict.fromkeys(devices))}: {text}") for text, devices in seen.items()]
    lines += [("why", f"{finding.text} {finding.next_step}") for finding in result.findings]
    windows = [share.phases["together"].seconds for share in result.shares if "together" in share.phases]
    if windows:
        clock = f", clocks agree within {result.clock_error_s * 1e3:.2f} ms" if result.clock_error_s else ""
        if result.clock_drift_s:
            clock += f" and drifted by {abs(result.clock_drift_s) * 1e3:.2f} ms"
        lines.append(("window", f"{min(windows):.2f} s shared by all{clock}"))
    lines.append(("samples", str(scaled.file)))
    return lines


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _watts(share: Share) -> float | None:
    found = share.phases.get("together")
    power = found.result.conditions.power_w if found else ()
    return sum(power) / len(power) if power else None
