"""Jobs that go wrong in every way a vendor's library has been seen to, for the tests of the process boundary."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from trtkit.errors import ModelError
from trtkit.worker.protocol import Reporter


def echo(report: Reporter, **values: Any) -> dict[str, Any]:
    return values


def steps(report: Reporter, *, count: int) -> int:
    for step in range(count + 1):
        report.progress("Counting", step, count, parent="All")
    report.log("warning", "the vendor warns")
    return count


def noisy(report: Reporter, *, lines: int) -> str:
    print("a vendor prints to standard output")
    os.write(1, b"and so does its C++ code\n")
    for index in range(lines):
        print(f"line {index}", file=sys.stderr)
    return "answered"


def asks_polygraphy_for_tensors(report: Reporter) -> dict[str, bool]:
    import numpy as np
    from polygraphy import util

    known = util.array.is_torch(np.zeros(1, np.float32))
    return {"is_torch": bool(known), "loaded": "torch" in sys.modules}


def refuse(report: Reporter) -> None:
    raise ModelError("node 'a' is bad", hint="Mend it.", log=("vendor said no",))


def bug(report: Reporter) -> None:
    raise ZeroDivisionError("a bug")


def out_of_memory(report: Reporter) -> None:
    raise MemoryError("no room for 1 TiB")


def segfault(report: Reporter) -> None:
    print("\x1b[1;31mthe last words\x1b[m", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def killed(report: Reporter) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(report: Reporter) -> None:
    os._exit(3)


def sleeps(report: Reporter, *, pid_file: str, seconds: float) -> None:
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(seconds)


def environment(report: Reporter, *, name: str) -> dict[str, Any]:
    return {"value": os.environ.get(name), "pid": os.getpid(), "modules": sorted(sys.modules)}


def allocate(report: Reporter, *, mebibytes: int) -> int:
    block = bytearray(mebibytes * 2**20)
    return len(block)


def converse(report: Reporter) -> int:
    """Answers each number with its double until it is told to stop; returns how many there were."""
    report.message("ready", pid=os.getpid())
    count = 0
    while (said := report.receive()) is not None and "stop" not in said:
        report.message("double", value=2 * said["number"])
        count += 1
    return count


def waits_in_vain(report: Reporter) -> str:
    return "nothing" if report.receive(timeout_s=0.05) is None else "something"
