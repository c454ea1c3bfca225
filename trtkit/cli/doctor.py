"""``trtkit doctor``: what works here, what does not, and the way out."""

from __future__ import annotations

from trtkit.cli.options import Json

__all__ = ["doctor"]


def doctor(json: Json = False) -> None:
    """Show what is installed, which family would be used, why the others not, and what to do about it."""
    from trtkit.cli.console import Screen, facts, out
    from trtkit.stages.doctor import examine
    from trtkit.units import bytes_text

    with Screen(quiet=json) as screen:
        screen.stage("Looking at every engine family")
        found = examine()
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=2))
        return
    from rich.text import Text

    console = out()
    here = found.environment
    machine = [
        ("system", f"{here.platform}, Python {here.python}, trtkit {here.trtkit}"),
        ("CPU", f"{here.cpu}, {here.cores} cores, {bytes_text(here.memory_bytes)}"),
        ("GPU", found.gpu_text),
        ("packages", ", ".join(f"{name} {version}" for name, version in here.packages.items())),
    ]
    console.print(facts("machine", machine))
    rows: list[tuple[str, str | Text]] = []
    for can in found.families:
        chosen = can.family == found.chosen
        if can.version is None:
            state = [can.cannot_build or "not installed"]
        else:
            state = [can.version, f"cannot build: {can.cannot_build}" if can.cannot_build else "builds"]
            state.append(f"cannot run: {can.cannot_run}" if can.cannot_run else f"runs on {can.device}")
        colour = "green" if chosen else "yellow" if can.cannot_build else ""
        rows.append((can.family, Text("; ".join(dict.fromkeys(state)), colour)))
        rows.extend(("", Text(f"way out: {can.way_out}", "dim")) for _ in (0,) if can.way_out)
        rows.extend(("", Text(note, "dim")) for note in can.notes)
    console.print(facts("engine families", rows))
    verdict = Text.assemble("auto takes ", (found.chosen, "bold"), ": ") if found.chosen else Text()
    console.print(verdict + Text(found.chosen_because))
    for problem in found.problems:
        console.print(Text.assemble(("problem: ", "bold red"), problem))
