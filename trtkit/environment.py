"""What measured: the machine and the libraries, as every manifest and result records them. No vendor is imported."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trtkit

__all__ = ["PACKAGES", "Environment", "code_fingerprint", "cpu_name", "describe"]

PACKAGES = (
    "trtkit",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "polygraphy",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "cuda-bindings",
    "safetensors",
    "nvidia-ml-py",
)
"""Distributions whose versions are recorded."""


@dataclass(frozen=True)
class Environment:
    """A machine as seen from Python.

    Attributes:
        trtkit: version of this toolkit.
        python: version of the interpreter.
        platform: operating system, release and architecture.
        cpu: the processor's name.
        cores: processors that this process may use.
        memory_bytes: physical memory; ``None`` where the system does not tell.
        packages: distribution → version, for those of :data:`PACKAGES` that are installed.
    """

    trtkit: str
    python: str
    platform: str
    cpu: str
    cores: int
    memory_bytes: int | None
    packages: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def describe() -> Environment:
    """Look at this machine."""
    return Environment(
        trtkit=trtkit.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        packages={name: version for name in PACKAGES if (version := _version(name)) is not None},
    )


@functools.cache
def cpu_name() -> str:
    """The processor's name, for people; the architecture where the system does not tell."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:
            lines = []
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def code_fingerprint() -> str:
    """SHA-256 over the Python sources of trtkit and model_defs: a changed toolkit must not reuse an old plan."""
    digest = hashlib.sha256()
    root = Path(trtkit.__file__).parent
    for package in (root, root.parent / "model_defs", root.parent / "calibration"):
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(root.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def _version(name: str) -> str | None:
    if name == "trtkit":
        return trtkit.__version__  # also right where the package runs from a source tree without metadata
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
