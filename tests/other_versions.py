"""Run the series with other versions of its libraries, each in a new environment.

    python -m tests.other_versions lowest   the oldest that pyproject.toml admits (also
                                            of Python): unit tests, two notebooks
    python -m tests.other_versions colab    Colab's: a notebook file alone in a folder
                                            installs the package and runs

Each downloads 3 GB the first time (torch with CUDA) and takes five and two minutes on
one core; neither is run where the disk is too full. Notebooks take the bundled sample.
Names of notebooks (`04`) behind the first word run these instead.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.execute_notebooks import ENVIRONMENT as PLAIN_OUTPUT
from tests.execute_notebooks import all_notebooks
from tests.stamp import stamp_notebook

ROOT = Path(__file__).resolve().parents[1]
UV = [sys.executable, "-m", "uv"]
COLAB = (  # what it ships, in November 2026, of the libraries that the package names
    *("torch==2.11.0", "torchvision==0.26.0", "numpy==2.1.3", "scikit-learn==1.6.1"),
    *("ipywidgets==7.7.1", "matplotlib==3.10.0", "pandas==2.2.3"),
    *("scipy", "tqdm", "filelock>=3.24", "safetensors", "pillow", "ipykernel", "pip"),
)
COLAB_PYTHON = "3.13"
LOWEST_PYTHON = "3.11"
NEEDED_BYTES = 15e9  # an environment with CUDA, and its downloads
ELSEWHERE = "somebody/elsewhere"  # the address that is redirected to this copy
STUB = "import sys, types; sys.modules['google.colab'] = types.ModuleType('colab')\n"


def find_python(version: str) -> str:
    """A Python of that version on this machine; else its name, for uv to fetch."""
    folders = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*")
    found = [shutil.which(f"python{version}"), *(f / "bin" / "python" for f in folders)]
    for candidate in filter(None, found):  # one that pyenv does not switch on fails
        if not subprocess.run([candidate, "-c", ""], capture_output=True).returncode:
            return str(candidate)
    return version


def make_environment(folder: Path, version: str, *installed: str) -> Path:
    """A new environment with these installed; returns its Python.

    Where no Python of that version can be had it takes this one, and says so.
    """
    venv = [*UV, "venv", "--quiet", "--python"]
    if subprocess.run([*venv, find_python(version), folder]).returncode:
        print(f"no Python {version} to be had: taking {sys.version.split()[0]}")
        subprocess.run([*venv, sys.executable, folder], check=True)
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [*UV, "pip", "install", "--quiet", "--python", inside]
    subprocess.run([*install, *installed], check=True, cwd=ROOT)
    return inside


def run_notebook(path: Path, python: Path, folder: Path, **variables: str) -> None:
    """Run all cells with that Python's kernel, in `folder`; raises if one fails."""
    kernel = folder / "jupyter" / "kernels" / "other"
    kernel.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "other", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=1200,
        startup_timeout=180,
        kernel_name="other",
        resources={"metadata": {"path": str(path.parent)}},
    )
    source = {"CIFAR10_SOURCE": "sample", "CIFAR10_ROOT": str(folder / "data")}
    client.execute(env={**os.environ, **PLAIN_OUTPUT, **source, **variables})


def version_of(library: str, python: Path) -> str:
    question = f"from importlib.metadata import version; print(version('{library}'))"
    return subprocess.check_output([python, "-c", question], text=True).strip()


def copy_as_repository(folder: Path) -> None:
    """The files of this copy that git knows, as a repository of one commit."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    somebody = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for words in (["init", "-q"], ["add", "-A"], [*somebody, "commit", "-qm", "copy"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def lowest(numbers: list[str], folder: Path) -> None:
    """Unit tests and notebooks with the oldest versions admitted."""
    resolution = ["--resolution", "lowest-direct", "-e", ".[dev]"]
    python = make_environment(folder / "environment", LOWEST_PYTHON, *resolution)
    print({name: version_of(name, python) for name in ("torch", "numpy", "ipywidgets")})
    subprocess.run([python, "-m", "pytest", "-m", "not slow"], cwd=ROOT, check=True)
    for path in chosen(numbers or ["01", "09"]):
        run_notebook(path, python, folder)
        print(f"{path.name}: ran", flush=True)


def colab(numbers: list[str], folder: Path) -> None:
    """Each notebook alone, set up by its own first cell, as on Colab."""
    (folder / "repository").mkdir()
    copy_as_repository(folder / "repository")
    (folder / "stub").mkdir()
    (folder / "stub" / "sitecustomize.py").write_text(STUB)
    python = make_environment(folder / "environment", COLAB_PYTHON, *COLAB)
    before = version_of("torch", python)
    redirected = {  # git takes the copy for the address in the set-up cell
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{(folder / 'repository').as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{ELSEWHERE}",
        "PYTHONPATH": str(folder / "stub"),
    }
    for path in chosen(numbers or ["01", "05", "11"]):
        alone = folder / path.stem / path.name
        alone.parent.mkdir()
        shutil.copy(path, alone)
        stamp_notebook(alone, ELSEWHERE)
        run_notebook(alone, python, folder, **redirected)
        assert version_of("torch", python) == before, "the set-up replaced torch"
        print(f"{path.name}: ran", flush=True)
    assert version_of("cifar_helpers", python), "the set-up installed nothing"


def chosen(numbers: list[str]) -> list[Path]:
    return [path for path in all_notebooks() if path.name[:2] in numbers]


def main(words: list[str]) -> int:
    kinds = {"lowest": lowest, "colab": colab}
    if not words or words[0] not in kinds:
        print(__doc__, file=sys.stderr)
        return 1
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < NEEDED_BYTES:
        print(f"not run: {free / 1e9:.0f} GB free, {NEEDED_BYTES / 1e9:.0f} are needed")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        kinds[words[0]](words[1:], Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
