"""What goes wrong while several devices are measured: ``python -m tests.perf.scale_faults OUT --repeats 20``.

Locally, over TCP and under mpirun a worker or a rank is killed or stopped in the window, a plan does not load, or the
parent dies. Each must end within ten seconds, say why, keep what the others measured, and leave no process behind.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import psutil

from tests.contract.test_families import conv_net
from tests.perf.measure import Row, trtkit, write
from trtkit.artifacts.files import read_json
from trtkit.artifacts.scale import ScaleResult
from trtkit.backends.null_timed import VARIABLE
from trtkit.pipeline import ConvertRequest, convert
from trtkit.stages.export import SourceRequest

__all__ = ["CASES", "Case", "Outcome", "main", "make_plan", "mpirun", "play"]

MOST_S = 10.0
_MARK = "TRTKIT_FAULT"
_SCRIPT = '{"compute_ms": 0.0, "image_ms": 2.0}'  # eight images in 16 ms, which nothing computes
_START_S = 90.0


@dataclass(frozen=True)
class Case:
    """A fault, and what must come of it.

    Attributes:
        way: ``local``, ``tcp`` or ``mpirun``.
        fault: ``worker-killed``, ``rank-killed``, ``rank-stopped``, ``bad-plan`` or ``parent-killed``.
        said: pattern of the message; ``None`` where nobody is left to say it.
        codes: exit codes of the process that speaks.
        keeps: whether the others' part of the window must be there.
    """

    way: str
    fault: str
    said: str | None
    codes: tuple[int, ...]
    keeps: bool

    @property
    def name(self) -> str:
        return f"{self.way} {self.fault}"


CASES = (
    Case("local", "worker-killed", r"ended early: cpu:[01]/2: .*killed by SIGKILL", (8,), True),
    Case("local", "bad-plan", r"ended early: cpu:1/2: ", (8,), False),
    Case("local", "parent-killed", None, (-9,), False),
    Case("tcp", "worker-killed", r"ended early: rank 1 on \S+: cpu:1/2: .*killed by SIGKILL", (8,), True),
    Case("tcp", "rank-killed", r"ended early: rank 1 on \S+ is lost: it.* connection", (8,), True),
    Case("tcp", "rank-stopped", r"ended early: rank 1 on \S+ is lost: silent for", (8,), True),
    Case("tcp", "bad-plan", r"ended early: rank 1 on \S+: cpu:1/2: ", (8,), False),
    Case("tcp", "parent-killed", r"ended early: rank 0.* is lost: it.* connection", (8,), True),
    Case("mpirun", "worker-killed", r"ended early: rank 1 on \S+: cpu:1/2: .*killed by SIGKILL", (8,), True),
    Case("mpirun", "rank-killed", r"ended early: rank 1 on \S+ is lost: it says nothing any more", (8, 137), True),
    Case("mpirun", "rank-stopped", r"ended early: rank 1 on \S+ is lost: silent for", (8,), True),
    Case("mpirun", "bad-plan", r"ended early: rank 1 on \S+: cpu:1/2: ", (8,), False),
    Case("mpirun", "parent-killed", None, (-9,), False),
)


@dataclass(frozen=True)
class Outcome:
    """One run: ``seconds`` from the fault (from being ready, for a bad plan) until nothing was left; what is wrong."""

    case: str
    seconds: float
    wrong: tuple[str, ...]
    output: str


def mpirun() -> list[str] | None:
    """The launcher with its first words, two slots wherever it runs; ``None`` if it or mpi4py is missing."""
    found = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None or subprocess.run([sys.executable, "-c", "import mpi4py"], capture_output=True).returncode:
        return None
    return [found, "--bind-to", "none", "--oversubscribe"]


def make_plan(folder: Path) -> Path:
    """A plan of the null family."""
    onnx.save(conv_net(), folder / "net.onnx")
    source = SourceRequest(str(folder / "net.onnx"))
    return convert(ConvertRequest(source, family="null", batch="1:8:64", output=folder, validate=False)).plan


def play(case: Case, plan: Path, folder: Path, *, window_s: float = 30.0) -> Outcome:
    """Start a run, do the harm, and look at what comes of it."""
    mark, out = uuid.uuid4().hex, folder / "out"
    bad = folder / "bad.plan"
    bad.write_bytes(b"trtkit-null-plan\n{")
    words = ["bench", str(plan), "--batch", "8", "--warmup", "0.1", "--no-alone", "-o", str(out)]
    words += ["--duration", str(window_s), "--max-duration", str(window_s + 1)]
    env = {**os.environ, _MARK: mark, VARIABLE: _SCRIPT, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "500"}
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "said").open("wb") as said:
        for command in _commands(case, words, bad):
            started.append(subprocess.Popen(command, stdout=said, stderr=said, env=env, start_new_session=True))
        try:
            _wait_until_on(case, folder / "said", started, mark)
            at = time.monotonic()
            if case.fault != "bad-plan":
                _harm(case, started, mark)
            speaker = started[1] if (case.way, case.fault) == ("tcp", "parent-killed") else started[0]
            wrong = _ended(case, speaker, started, mark, at)
            seconds = time.monotonic() - at
        finally:
            for process in _marked(mark):
                process.kill()
            for process in started:
                process.kill()
                process.wait()
    text = (folder / "said").read_text(errors="replace")
    if case.said is not None and not re.search(case.said, " ".join(text.split())):
        wrong.append(f"it did not say {case.said!r}")
    if "Traceback" in text:
        wrong.append("it wrote a traceback")
    if case.keeps and not _kept(out):
        wrong.append("nothing was kept")
    return Outcome(case.name, seconds, tuple(wrong), text if wrong else "")


def _commands(case: Case, words: list[str], bad: Path) -> list[list[str]]:
    other = ["--plan", f"cpu:1/2={bad}"] if case.fault == "bad-plan" else []
    if case.way == "local":
        return [trtkit(*words, "--device", "cpu*2", *other)]
    if case.way == "tcp":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        rank = [*words, "--device", "cpu", "--rendezvous"]
        return [trtkit(*rank, f"127.0.0.1:{port},0,2"), trtkit(*rank, f"127.0.0.1:{port},1,2", *other)]
    launcher = mpirun()
    assert launcher is not None
    one = ["-n", "1", *trtkit(*words, "--device", "cpu")]
    return [[*launcher, *one, ":", *one, *other]]


def _wait_until_on(case: Case, said: Path, started: Sequence[subprocess.Popen[bytes]], mark: str) -> None:
    sign = "Loading and warming up" if case.fault == "bad-plan" else "Measuring together"
    until = time.monotonic() + _START_S
    while sign not in said.read_text(errors="replace"):
        if time.monotonic() > until or started[0].poll() is not None:
            raise RuntimeError(f"{case.name} did not begin:\n{said.read_text(errors='replace')}")
        time.sleep(0.05)
    time.sleep(0 if case.fault == "bad-plan" else 1.0)


def _harm(case: Case, started: Sequence[subprocess.Popen[bytes]], mark: str) -> None:
    if case.fault == "parent-killed":
        os.kill(started[0].pid, signal.SIGKILL)
    elif case.fault == "worker-killed":
        os.kill(_worker(case, started, mark).pid, signal.SIGKILL)
    else:
        rank = psutil.Process(started[1].pid) if case.way == "tcp" else _rank(mark, "1")
        os.kill(rank.pid, signal.SIGKILL if case.fault == "rank-killed" else signal.SIGSTOP)


def _worker(case: Case, started: Sequence[subprocess.Popen[bytes]], mark: str) -> psutil.Process:
    """One of the second rank's, or of the only process's."""
    workers = [process for process in _marked(mark) if "trtkit.worker.child" in process.cmdline()]
    if case.way == "local":
        return workers[-1]
    rank = started[1].pid if case.way == "tcp" else _rank(mark, "1").pid
    return next(process for process in workers if process.ppid() == rank)


def _rank(mark: str, number: str) -> psutil.Process:
    """The process that is a rank of mpirun's: it leads a session, and is no worker."""
    for process in _marked(mark):
        leads = os.getsid(process.pid) == process.pid and "trtkit.worker.child" not in process.cmdline()
        if leads and process.environ().get("OMPI_COMM_WORLD_RANK") == number:
            return process
    raise RuntimeError(f"there is no rank {number}")


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _ended(
    case: Case, speaker: subprocess.Popen[bytes], started: Sequence[subprocess.Popen[bytes]], mark: str, at: float
) -> list[str]:
    """Wait until nothing is left; what is wrong with the end."""
    wrong = []
    stopped = started[1].pid if (case.way, case.fault) == ("tcp", "rank-stopped") else None
    while left := [p for p in _marked(mark) if stopped is None or not _belongs(p, stopped)]:
        if time.monotonic() - at > MOST_S:
            names = [" ".join(process.cmdline())[:80] for process in left]
            return [f"after {MOST_S:.0f} s there were still {names}"]
        for process in started:
            process.poll()
        time.sleep(0.05)
    if stopped is not None:
        # Nobody can end a stopped rank of no launcher; when it goes on, it must end itself and its worker.
        os.kill(stopped, signal.SIGCONT)
        until = time.monotonic() + MOST_S
        while _marked(mark) and time.monotonic() < until:
            time.sleep(0.05)
        if _marked(mark):
            wrong.append("the stopped rank did not end when it was woken")
    code = speaker.wait()
    if code not in case.codes:
        wrong.append(f"exit code {code}, not {case.codes}")
    return wrong


def _belongs(process: psutil.Process, parent: int) -> bool:
    try:
        return process.pid == parent or process.ppid() == parent
    except psutil.Error:
        return False


def _kept(folder: Path) -> bool:
    """Whether a result holds a measurement; a rank without rank 0 writes one of its own."""
    results = [ScaleResult.from_json(read_json(file)) for file in folder.glob("*.scale.json")]
    return any(share.phases for result in results for share in result.shares)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time: harder, and sooner done")
    parser.add_argument("--only", default="", help="a part of the names: 'tcp', 'rank-killed'")
    asked = parser.parse_args(arguments)
    launcher = mpirun()
    cases = [case for case in CASES if asked.only in case.name and (case.way != "mpirun" or launcher)]
    outcomes: dict[str, list[Outcome]] = {case.name: [] for case in cases}
    with tempfile.TemporaryDirectory(prefix="trtkit-") as scratch, ThreadPoolExecutor(asked.jobs) as pool:
        plan = make_plan(Path(scratch))

        def one(number: int, case: Case) -> Outcome:
            folder = Path(scratch) / f"{number}.{case.name.replace(' ', '.')}"
            folder.mkdir()
            try:
                return play(case, plan, folder)
            except RuntimeError as error:
                return Outcome(case.name, MOST_S, ("it did not begin",), str(error))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        for found in pool.map(lambda job: one(*job), [(n, case) for n in range(asked.repeats) for case in cases]):
            outcomes[found.case].append(found)
            print(f"{found.case}: {found.seconds:.1f} s {'; '.join(found.wrong)}", file=sys.stderr, flush=True)
    facts = {"outcomes": {name: [asdict(found) for found in every] for name, every in outcomes.items()}}
    rows = [row for name, every in outcomes.items() for row in _rows(name, every)]
    print(write(asked.out, "scale_faults", f"Faults in a scaling run, {asked.repeats} times each", rows, facts))
    return 0 if all(row.met for row in rows) else 1


def _rows(name: str, found: Sequence[Outcome]) -> list[Row]:
    seconds = [one.seconds for one in found]
    note = "; ".join(dict.fromkeys(text for one in found for text in one.wrong))
    well = sum(not one.wrong for one in found)
    return [
        Row(f"{name}: slowest end", max(seconds), "s", MOST_S, samples=seconds),
        Row(f"{name}: ended as it must", well, reach=len(found), relation="≥", note=note),
    ]


if __name__ == "__main__":
    sys.exit(main())
