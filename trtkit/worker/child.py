"""The worker's own side (``python -m trtkit.worker.child``): read one request, run it, stream events, answer once.

Standard output is kept for the protocol: a vendor that prints there would break it, so file descriptor 1 is pointed at
standard error before anything else is imported. A worker never outlives its parent: the kernel kills it with the
parent (Linux), and everywhere a thread watches for the end of standard input.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

from trtkit.errors import TrtkitError
from trtkit.worker.protocol import decode, encode

__all__ = ["main"]


class _WithoutTorch:
    """Lets no module of this process import PyTorch.

    Polygraphy imports it, where it is installed, to ask whether an array is one of its tensors: three seconds of every
    worker. A blocked entry in ``sys.modules`` would not do: ONNX Runtime takes one as a sign that PyTorch has loaded
    the CUDA libraries.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if name == "torch":
            raise ModuleNotFoundError("trtkit's workers do without torch", name=name)


class _Channel:
    """Writes messages to the parent; the :class:`~trtkit.worker.protocol.Reporter` that jobs are given."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.inbox: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; a parent that no longer reads ends the worker."""
        with self._lock:
            try:
                self._stream.write(encode(message))
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                os._exit(1)

    def progress(self, phase: str, step: int, steps: int | None, parent: str | None = None) -> None:
        """See :class:`~trtkit.worker.protocol.Progress`."""
        self.send({"event": "progress", "phase": phase, "step": step, "steps": steps, "parent": parent})

    def log(self, severity: str, text: str) -> None:
        """See :class:`~trtkit.worker.protocol.Log`."""
        self.send({"event": "log", "severity": severity, "text": text})

    def message(self, kind: str, **values: Any) -> None:
        """See :class:`~trtkit.worker.protocol.Message`."""
        self.send({"event": "message", "kind": kind, "values": values})

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """See :meth:`trtkit.worker.protocol.Reporter.receive`."""
        try:
            return self.inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None


def _listen(inbox: queue.Queue[dict[str, Any]]) -> None:
    """Take what the parent sends, and end this process with it."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))

    def read() -> None:
        for line in sys.stdin.buffer:
            inbox.put(decode(line))
        os._exit(1)

    threading.Thread(target=read, name="parent-watch", daemon=True).start()


def _peak_rss_bytes() -> int | None:
    """Largest resident set of this process so far, in bytes; ``None`` where the system does not tell.

    Linux's ``ru_maxrss`` survives fork and exec, so that a large parent would be measured instead: ``VmHWM`` does not.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status", "rb") as status:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmHWM:"))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _take_over_stdout() -> BinaryIO:
    """A private copy of standard output for the protocol; the descriptor itself then points at standard error."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def main() -> int:
    """Serve one request; the exit code only says whether an answer was given."""
    channel = _Channel(_take_over_stdout())
    faulthandler.enable(all_threads=False)
    sys.meta_path.insert(0, _WithoutTorch())
    request = decode(sys.stdin.buffer.readline())
    _listen(channel.inbox)
    started = time.perf_counter()
    try:
        module, _, name = str(request["function"]).partition(":")
        value = getattr(importlib.import_module(module), name)(channel, **request["arguments"])
        answer = {"event": "result", "value": value}
    except TrtkitError as error:
        answer = {"event": "error", "error": error.to_wire()}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            answer = {"event": "crash", "traceback": traceback.format_exc()}
        else:
            answer = {"event": "full", "text": str(error)}
    except MemoryError as error:
        answer = {"event": "out_of_memory", "text": str(error)}
    except Exception:
        answer = {"event": "crash", "traceback": traceback.format_exc()}
    channel.send({**answer, "seconds": time.perf_counter() - started, "peak_rss_bytes": _peak_rss_bytes()})
    # No interpreter shutdown: vendor libraries are known to crash in their destructors, after the answer is out.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
