"""A made-up engine for the pretended GPU: ``y = 2 x``, in a time of one's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.backends.cuda_stand_in.runtime import Runtime
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import RunError


def settings(mode: str, **more: Any) -> BenchSettings:
    return BenchSettings(**{"mode": mode, "batch": 4, "shapes": {"x": (4, 256)}, **more})


class Work:
    """A :class:`trtkit.backends.cuda_work.CudaWork`.

    Args:
        runtime: whose stream it is started on.
        stream: its handle.
        seconds: of one execution.
        refuse: ``launch`` fails from this launch on.
        uncapturable: words of :meth:`why_no_capture`, or ``sync`` for a launch that waits inside.
    """

    one_set = False
    own_graphs: str | None = None

    def __init__(
        self,
        runtime: Runtime,
        stream: int,
        seconds: float,
        *,
        refuse: int | None = None,
        uncapturable: str | None = None,
        host_s: float = 0.0,
        outputs: int = 256,
    ) -> None:
        self.inputs = (TensorSpec("x", "float32", (4, 256)),)
        self.outputs = (TensorSpec("y", "float32", (4, outputs)),)
        self.facts: dict[str, Any] = {"profile": 0}
        self.launches, self.open = 0, False
        self._runtime, self._stream, self._seconds, self._host_s = runtime, stream, seconds, host_s
        self._refuse, self._uncapturable = refuse, uncapturable
        self._places: dict[int, Mapping[str, int]] = {}

    def __enter__(self) -> Work:
        self.open = True
        return self

    def __exit__(self, *error: object) -> None:
        self.open = False
        assert not [s for s in self._runtime._things["stream"].values() if s.end_s > self._runtime.device.now_s]

    def place(self, index: int, addresses: Mapping[str, int]) -> None:
        self._places[index] = addresses

    def select(self, index: int) -> None:
        self._selected = index

    def launch(self) -> None:
        self.launches += 1
        if self._refuse is not None and self.launches > self._refuse:
            raise RunError("enqueue returned False: out of memory", hint="Lower the batch size.")
        if self._uncapturable == "sync":
            self._runtime.cudaStreamSynchronize(self._stream)
        self._runtime.device.sleep(self._host_s)
        source, target = (self._places[self._selected][name] for name in ("x", "y"))
        size, out = 4 * 256 * 4, self.outputs[0].shape[1] * 16

        def compute() -> None:
            values = _floats(self._runtime, source)[: int(out) // 4]
            _floats(self._runtime, target)[:] = 2 * values

        self._runtime.kernel(
            self._stream,
            f"execution of set {self._selected}",
            self._seconds,
            [(source, size)],
            [(target, out)],
            compute,
        )

    def why_no_capture(self) -> str | None:
        return None if self._uncapturable == "sync" else self._uncapturable


def _floats(runtime: Runtime, address: int) -> np.ndarray:
    return runtime.device.blocks[address][1].view(np.float32)
