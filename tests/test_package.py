"""The package as a whole: what imports what, and what a wheel of it holds."""

import ast
import graphlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy
import pytest

import cifar_helpers

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cifar_helpers"
FLOORS = (  # a module imports from lower floors only, a package's parts from each other
    {"mirrors", "intervals", "ladder"},
    {"runtime", "field_rules", "hooks", "download", "depthwise", "optimizers"},
    {"data", "blocks", "factorial"},
    {"augment", "corruptions", "model"},
    {"recipes", "pretrained", "receptive_field", "evaluation", "checkpoints"},
    {"scores", "confusion", "calibration", "trainer"},
    {"training", "plots", "explain", "ablation"},
    {"notebook", "checks", "speed", "guesses", "worth"},
    {"audit"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FOR_TRAINING = {"cifar_helpers", "torch", "numpy", "tqdm", "safetensors"}
FOR_READERS = {
    "plots",
    "notebook",
    "checks",
    "intervals",
    "factorial",
    "audit",
    "worth",
}  # these may import more
FOR_FEW = "matplotlib pandas seaborn sklearn scipy IPython ipywidgets torchvision"


def module_name(path: Path) -> str:
    """`cifar_helpers.plots` for cifar_helpers/plots/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_by(tree: ast.AST) -> set[str]:
    """Full names of all that a module imports, inside of functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = whole & MODULES.keys()
            names |= modules if modules == whole else modules | {node.module}
    return names


IMPORTS = {
    name: imported_by(ast.parse(path.read_text(encoding="utf-8")))
    for name, path in MODULES.items()
}
OWN_IMPORTS = {
    name: {other for other in imports if other in MODULES} - {"cifar_helpers"}
    for name, imports in IMPORTS.items()
}


def room(module: str) -> str:
    """The module or sub-package directly below cifar_helpers."""
    return module.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name])
def test_a_module_imports_from_lower_floors_only(name):
    assert room(name) in FLOOR_OF, "a new module: give it a floor here"
    for other in OWN_IMPORTS[name]:
        if room(other) != room(name):
            assert FLOOR_OF[room(other)] < FLOOR_OF[room(name)], other


def test_imports_run_in_no_circle():
    assert list(graphlib.TopologicalSorter(OWN_IMPORTS).static_order())


def test_training_imports_few_libraries_by_its_text():
    """Imports at the top of a module; those within a function wait for its call."""
    for name, path in MODULES.items():
        if "." not in name or room(name) in FOR_READERS:
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        top = [s for s in body if isinstance(s, ast.Import | ast.ImportFrom)]
        imported = imported_by(ast.Module(top, []))
        libraries = {other.split(".")[0] for other in imported}
        assert libraries - sys.stdlib_module_names <= FOR_TRAINING, name


def python(code: str, *options, executable=sys.executable, cwd=None) -> str:
    """What a fresh interpreter prints."""
    command = [str(executable), *options, "-c", code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_and_inference_load_few_libraries():
    modules = "augment blocks data evaluation model pretrained recipes training"
    imports = ", ".join(f"cifar_helpers.{name}" for name in modules.split())
    loaded = python(f"import sys, {imports}; print(*sys.modules)").split()
    assert "torch" in loaded
    assert not set(FOR_FEW.split()) & set(loaded)


def test_importing_the_package_is_quick():
    code = """
import sys, time
started = time.perf_counter()
import cifar_helpers
print(time.perf_counter() - started, "torch" in sys.modules)
"""
    seconds, heavy = zip(*(python(code).split() for _ in range(5)), strict=True)
    assert statistics.median(map(float, seconds)) < 0.1
    assert set(heavy) == {"False"}


@pytest.mark.parametrize(
    "file, form",
    [("pyproject.toml", 'version = "{}"'), ("CITATION.cff", "version: {}")],
)
def test_the_version_is_stated_alike(file, form):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert form.format(cifar_helpers.__version__) in lines


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without a network, from a copy, so that no build folder stays behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, source / "cifar_helpers", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c"]
    command += [
        f"from setuptools import build_meta as b; b.build_wheel({str(folder)!r})"
    ]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Deprecat" not in done.stdout + done.stderr, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The interpreter of a fresh environment with the wheel; torch is that of ours."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    uv = [sys.executable, "-m", "uv", "--offline", "--no-config", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [*uv, "pip", "install", "--no-deps", "--python", interpreter, wheel]
    subprocess.run(install, check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(python(code, executable=interpreter).strip())
    ours = Path(numpy.__file__).parents[1]  # without the .pth files of our environment
    (packages / "libraries.pth").write_text(f"{ours}\n", encoding="utf-8")
    return interpreter


@pytest.mark.slow
def test_an_installed_wheel_works_in_an_empty_folder(installed, tmp_path):
    code = """
import json
import cifar_helpers
from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.model import predict
from cifar_helpers.pretrained import load_card, load_pretrained
import cifar_helpers.checks.meet_the_data, cifar_helpers.plots
import cifar_helpers.receptive_field
data = load_cifar10(source="sample")
right = predict(load_pretrained("cpu"), data.test.images).argmax(1) == data.test.labels
print(json.dumps({
    "file": cifar_helpers.__file__,
    "counts": [len(data.train), len(data.test)],
    "accuracy": 100 * right.float().mean().item(),
    "card": load_card("cpu")["test_accuracy_percent"],
    "results": sorted(path.name for path in runtime.RESULTS.iterdir()),
}))
"""
    got = json.loads(python(code, "-P", executable=installed, cwd=tmp_path))
    assert Path(got["file"]).is_relative_to(installed.parents[1])
    assert got["counts"] == [2000, 1000]
    assert abs(got["accuracy"] - got["card"]) < 5  # 1,000 of the 10,000 test images
    assert got["results"] == sorted(p.name for p in (PACKAGE / "results").iterdir())


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (name for name in held if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == {name for name in held if name.startswith("cifar_helpers/")}
    assert re.search(r"^License-Expression: MIT$", text, re.MULTILINE)
    assert any(name.endswith("/LICENSE") for name in held)
