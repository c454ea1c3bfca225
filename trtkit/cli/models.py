"""``trtkit models``: the model definitions."""

from __future__ import annotations

from trtkit.cli.options import Json
from trtkit.units import count_text

__all__ = ["models"]


def models(json: Json = False) -> None:
    """List the model definitions with parameters, MACs and input."""
    import model_defs
    from trtkit.cli.console import out

    found = [model_defs.get(name) for name in model_defs.names()]
    if json:
        from json import dumps

        print(dumps([definition.to_json() for definition in found], indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("name", "parameters", "MACs an image", "input"):
        table.add_column(name, justify="left" if name in ("name", "input") else "right", no_wrap=True)
    for definition in found:
        shape = "×".join(map(str, definition.input_shape))
        table.add_row(
            definition.name,
            count_text(definition.parameters),
            count_text(definition.macs),
            f"{definition.input_name} {definition.input_dtype} N×{shape}",
        )
    console = out()
    console.print(table)
    console.print()
    for definition in found:
        console.print(Text.assemble((definition.name, "bold"), f": {definition.summary}"))
