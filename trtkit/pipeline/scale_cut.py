"""An interruption of a scaling run, which carries what was measured until then."""

from __future__ import annotations

from pathlib import Path

from trtkit.artifacts.scale import ScaleResult

__all__ = ["CutShort"]


class CutShort(KeyboardInterrupt):
    """An interruption, with what there is.

    Args:
        result: rank 0's, or this rank's own part if there is no rank 0 any more; ``None`` for all other ranks.
        died: whether a rank is gone without a word, which is why a launcher interrupts the others.

    Attributes:
        file: where it is kept; ``None`` if nothing was.
    """

    file: Path | None = None

    def __init__(self, result: ScaleResult | None, *, died: bool = False) -> None:
        super().__init__()
        self.result, self.died = result, died
