"""What is handed on is whole: the sdist, the file for conda, the versions named."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.other_versions import COLAB, COLAB_PYTHON, LOWEST_PYTHON, copy_as_repository

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]
NEEDS = {need.name: need for need in map(Requirement, PROJECT["dependencies"])}
CONDA = ROOT / "environment.yml"
CACHES = {"__pycache__", ".ipynb_checkpoints"}
UV = [sys.executable, "-m", "uv", "--offline", "--no-config", "--quiet"]


def build(kind: str, source: Path, folder: Path) -> Path:
    """The sdist or wheel of `source`, without a network; no deprecation is met."""
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(folder)!r})"
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", code]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Deprecat" not in done.stdout + done.stderr, done.stdout + done.stderr
    (path,) = (p for p in folder.iterdir() if p.is_file())
    return path


def skip_without_git() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git repository: nothing says which files belong to it")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The repository's files, and the folder that the sdist made of them unpacks to."""
    skip_without_git()
    folder = tmp_path_factory.mktemp("sdist")
    for name in ("source", "built", "unpacked"):
        (folder / name).mkdir()
    copy_as_repository(folder / "source")
    listed = ["git", "ls-files", "-z"]
    files = subprocess.check_output(listed, cwd=folder / "source", text=True)
    sdist = build("sdist", folder / "source", folder / "built")
    shutil.unpack_archive(sdist, folder / "unpacked")
    (inside,) = (folder / "unpacked").iterdir()
    return set(files.strip("\0").split("\0")), inside


def test_git_passes_over_nothing_but_caches():
    """What a fresh clone would lack: results that `.gitignore` happens to name."""
    skip_without_git()
    listed = ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard"]
    command = [*listed, "--", "cifar_helpers", "tests"]
    names = subprocess.check_output(command, cwd=ROOT, text=True).strip("\0")
    ours = [name for name in names.split("\0") if not CACHES & set(Path(name).parts)]
    assert not list(filter(None, ours))


@pytest.mark.slow
def test_the_source_distribution_holds_every_file(unpacked):
    files, inside = unpacked
    held = {
        path.relative_to(inside).as_posix()
        for path in inside.rglob("*")
        if path.is_file()
    }
    made = {"PKG-INFO", "setup.cfg"}
    assert files <= held
    assert {n for n in held - files if ".egg-info/" not in n} == made
    for name in files:
        assert (inside / name).read_bytes() == (ROOT / name).read_bytes(), name


@pytest.mark.slow
def test_a_wheel_made_of_it_is_whole_and_its_tests_run(unpacked, tmp_path):
    files, inside = unpacked
    with ZipFile(build("wheel", inside, tmp_path)) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name for name in files if name.startswith("cifar_helpers/")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["tests/test_stamp.py"]  # needs notebooks, pyproject.toml, helpers
    done = subprocess.run(command, cwd=inside, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_conda_installs_what_pyproject_states(tmp_path):
    """Its pip part, installed by uv here, asks for nothing that is not there."""
    conda = yaml.safe_load(CONDA.read_text(encoding="utf-8"))
    assert f"conda activate {conda['name']}" in (ROOT / "README.md").read_text(
        encoding="utf-8"
    )
    *plain, part = conda["dependencies"]
    python = Requirement(plain[0].replace("=", "=="))
    (version,) = (spec.version for spec in python.specifier)
    assert python.name == "python" and "pip" in plain
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    (statement,) = part["pip"]
    assert statement == "-e .[dev]"  # and no versions of its own
    asked = tmp_path / "requirements.txt"  # as conda hands it to pip
    asked.write_text(f"{statement}\n")
    install = [*UV, "pip", "install", "--python", sys.executable, "--dry-run"]
    words = ["--no-build-isolation", "--requirement", asked]
    done = subprocess.run([*install, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_colab_ships_what_the_package_admits():
    """All but the widgets: Colab shows older ones, with a manager of its own."""
    assert SpecifierSet(PROJECT["requires-python"]).contains(COLAB_PYTHON)
    pinned = {r.name: r for r in map(Requirement, COLAB) if "==" in str(r.specifier)}
    assert {"torch", "torchvision", "numpy", "scikit-learn"} <= set(pinned)
    for name in set(pinned) - {"ipywidgets"}:
        (version,) = (spec.version for spec in pinned[name].specifier)
        assert NEEDS[name].specifier.contains(version), name


def test_the_oldest_python_is_stated_alike():
    assert PROJECT["requires-python"] == f">={LOWEST_PYTHON}"
    oldest = tuple(int(part) for part in LOWEST_PYTHON.split("."))
    assert f"OLDEST = {oldest}" in (ROOT / "start.py").read_text(encoding="utf-8")
    assert f"Python {LOWEST_PYTHON} or newer" in (ROOT / "README.md").read_text(
        encoding="utf-8"
    )
