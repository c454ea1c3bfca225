"""The rules of the house, read from the source: who imports whom, what every module has, what no file holds."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("trtkit", "model_defs", "calibration") for path in (ROOT / package).rglob("*.py"))
VENDORS = {"tensorrt", "tensorrt_rtx", "onnxruntime", "polygraphy", "cuda", "pynvml"}

# Rooms from the ground up: a module imports from its own room and from lower ones. What every vendor shares (the
# protocols, options, capabilities and names of backends) is a room of nouns; the backends themselves are reached by
# name, through a worker, so that nothing but a worker job imports them.
SEAM = ("base", "options", "capabilities", "registry", "timing")
LEVELS = {
    "trtkit.errors": 0,
    "trtkit": 0,  # __version__ and the lazy names
    "trtkit.units": 1,
    "trtkit.quant": 1,
    "trtkit.tensor_blocks": 0,
    "trtkit.metrics": 1,
    "trtkit.stats": 1,
    "trtkit.arguments": 1,
    "trtkit.environment": 1,
    "trtkit.artifacts": 2,
    "trtkit.graph": 3,
    "trtkit.worker": 3,
    "trtkit.worker.protocol": 2,  # the nouns of the pipe, which backends report with
    **{f"trtkit.backends.{name}": 3 for name in SEAM},
    "trtkit.backends.probing": 4,  # asks the families in workers; vendors stay out of the parent
    "trtkit.backends.executing": 4,  # so does this
    "trtkit.judging": 4,
    "trtkit.measurement": 4,  # knows the timed path of the seam, and no vendor
    "trtkit.ranks": 4,  # processes that run together; knows errors and units only
    "trtkit.report": 4,  # pages and figures from saved results
    "trtkit.backends.comparing": 5,  # runs a reference and judges
    "trtkit.stages": 6,  # verbs call calibration and model_defs, never the other way
    "calibration": 4,
    "model_defs": 4,
    "trtkit.pipeline": 7,
    "trtkit.cli": 8,
    "trtkit.start": 9,  # the console script
    "trtkit.backends": 9,  # the vendors: only workers come here
    "trtkit.__main__": 10,
}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(module: str) -> str:
    """The longest name in LEVELS that ``module`` is or lies in."""
    if module == "trtkit":
        return module
    names = [name for name in LEVELS if name != "trtkit" and (module == name or module.startswith(f"{name}."))]
    assert names, f"{module} is in no room: give it its level here"
    return max(names, key=len)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _modules() -> frozenset[str]:
    return frozenset(_module(path) for path in SOURCES)


def _imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere in it, functions included; ``from a import b`` is a.b if a module."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in _modules() else node.module)
    return found


def _ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("trtkit", "model_defs", "calibration")}


def test_imports_point_downward() -> None:
    breaches = []
    for path in SOURCES:
        module = _module(path)
        if module == "trtkit":
            continue  # its names are loaded when used; test_public_names proves it
        room = _room(module)
        for name in _ours(_imports(path)):
            other = _room(name)
            same = room == other or (room.startswith("trtkit.backends") and other in room)
            if not same and LEVELS[other] >= LEVELS[room]:
                # The seam's own files know each other; environment asks for __version__.
                if {room, other} <= {f"trtkit.backends.{part}" for part in SEAM}:
                    continue
                breaches.append(f"{module} imports {name}")
    assert not breaches, "\n".join(breaches)


def test_stages_never_import_each_other() -> None:
    breaches = []
    for path in (ROOT / "trtkit" / "stages").glob("*.py"):
        others = {name for name in _imports(path) if name.startswith("trtkit.stages.")} - {_module(path)}
        breaches += [f"{_module(path)} imports {name}" for name in sorted(others)]
    assert not breaches, "\n".join(breaches)


def test_commands_never_import_each_other() -> None:
    """A command's file has its name; what two commands need lies in a file of its own beside them."""
    folder = ROOT / "trtkit" / "cli"
    commands = {
        path.stem
        for path in folder.glob("*.py")
        if any(isinstance(node, ast.FunctionDef) and node.name == path.stem for node in _tree(path).body)
    } - {"main"}
    assert {"convert", "calibrate"} <= commands
    for name in commands:
        imported = _imports(folder / f"{name}.py")
        assert not [other for other in commands - {name} if f"trtkit.cli.{other}" in imported], name


def test_only_backends_import_vendors() -> None:
    breaches = [
        f"{_module(path)} imports {name}"
        for path in SOURCES
        if not _module(path).startswith("trtkit.backends.")
        for name in _imports(path)
        if name.split(".")[0] in VENDORS
    ]
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize("package", ["model_defs", "calibration"])
def test_the_other_packages_know_no_command_and_no_order_of_stages(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = [n for n in _imports(path) if n.startswith(("trtkit.cli", "trtkit.pipeline", "trtkit.stages"))]
        assert not wrong, f"{path.name}: {wrong}"


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_a_module_says_what_it_is_and_what_it_offers(path: Path) -> None:
    tree = _tree(path)
    doc = ast.get_docstring(tree)
    assert doc and doc.split("\n")[0].endswith((".", ":", "?")), f"{path.name}: no sentence at its top"
    code = [node for node in tree.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    if path.name == "__main__.py" or (path.name == "__init__.py" and not code):
        return
    offered = _all_of(tree)
    assert offered is not None, f"{path.name} has no __all__"
    assert len(offered) == len(set(offered))
    defined = _defined(tree)
    lazy = "__getattr__" in defined
    if lazy:
        module = importlib.import_module(_module(path))
        defined |= {name for name in offered if hasattr(module, name)}
    assert set(offered) <= defined, f"{path.name}: {set(offered) - defined}"


def _all_of(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names: list[str] = ast.literal_eval(node.value)  # type: ignore[union-attr, arg-type]
            return names
    return None


def _defined(tree: ast.Module) -> set[str]:
    """Names that a module's top level binds, inside ``if`` and ``try`` too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node in tree.body:
                names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return names


def test_no_file_grows_beyond_a_room() -> None:
    long = {}
    for path in SOURCES:
        name, lines = path.relative_to(ROOT).as_posix(), len(path.read_text(encoding="utf-8").splitlines())
        if lines > 300:
            long[name] = lines
    assert not long


def test_nothing_is_left_for_later() -> None:
    left = []
    for path in SOURCES:
        if re.search(r"\b(TODO|FIXME)\b", path.read_text(encoding="utf-8")):
            left.append(path.name)
        # To catch another library's NotImplementedError is no stub; to raise one is.
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
                left.append(f"{path.name}:{node.lineno}")
    assert not left


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_no_tracked_file_names_a_machine_or_a_package_index() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    forbidden = re.compile(
        rb"(?<![\w.])/(work|root|home/\w+|Users/\w+)/|(?<![\w.])/tmp/\w*(venv|env)\b"
        rb"|(?:--)?(?:extra-)?index-url\b|PIP_(?:EXTRA_)?INDEX|find-links|UV_INDEX"
        rb"|artifactory|pythonhosted"
    )
    breaches = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file() or path.suffix in (".png", ".npz", ".gz", ".plan"):
            continue
        breaches += [f"{name}: {found.group().decode()}" for found in forbidden.finditer(path.read_bytes())]
    assert not breaches, "\n".join(breaches)
