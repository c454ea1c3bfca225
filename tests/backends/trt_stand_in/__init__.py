"""A scripted ``tensorrt`` module, with names from ``tests/data/tensorrt_api`` and behaviour from this package.

No GPU and no TensorRT are needed. A name that the recorded version does not have raises AttributeError, as the real one
does; a recorded name that nothing here plays raises NotImplementedError, so that no test passes by accident. Real
Polygraphy drives it, in a worker process whose ``sys.path`` leads with a folder made by :func:`install`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Scenario", "install"]


@dataclass(frozen=True)
class Scenario:
    """One job of trtkit under one script.

    Attributes:
        job: ``build``, ``execute``, ``layers`` or ``probe`` of :mod:`trtkit.backends.jobs`, ``measure`` of
            :mod:`trtkit.backends.bench_jobs`, ``layer_times`` of :mod:`trtkit.backends.profile_jobs`.
        arguments: the job's, without ``family``.
        script: what the stand-in does, a word a part (see ``state.py``); empty: everything succeeds.
        compute_capability: of the pretended GPU; ``None`` pretends that there is none.
    """

    job: str
    arguments: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    compute_capability: str | None = "8.9"


def install(folder: Path, recorded: str, *, damage: str | None = None) -> Path:
    """Write a package folder whose ``tensorrt`` is the stand-in for ``recorded`` (``tensorrt-11.4.0.106``).

    Args:
        folder: an empty one.
        recorded: name of the JSON file.
        damage: ``no_builder`` (an empty namespace), ``no_library`` (ImportError as without libnvinfer),
            ``no_bindings`` (its bindings package is missing), ``broken_library`` (OSError of the loader).
    """
    text = {
        None: f"from tests.backends.trt_stand_in.module import fill\n\nfill(globals(), {recorded!r})\n",
        "no_builder": "__version__ = '11.4.0.106'\n",
        "no_library": "raise ImportError('libnvonnxparser.so.11: cannot open shared object file')\n",
        "no_bindings": "import tensorrt_bindings\n",
        "broken_library": "raise OSError('libnvinfer.so.11: file too short')\n",
    }[damage]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tensorrt.py").write_text(text, encoding="utf-8")
    return folder
