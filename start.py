"""Open the notebooks in JupyterLab, or run the tests, from a fresh copy.

    python3 start.py            Linux, macOS (Windows: py start.py)
    python3 start.py test       run all tests; words behind `test` go to pytest
    python3 start.py --cpu      with a torch that knows no GPU: a small download

Needs Python 3.11 or newer and nothing else. All that is installed goes into the folder
`.venv` beside this file (and uv, if it is missing, into `.tools`); delete it to begin
again. An environment that is there is used as it is, if it fits.
"""

from __future__ import annotations  # so that an old Python gets to the message below

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
PROJECT = HERE / "pyproject.toml"
TOOLS = HERE / ".tools"
OLDEST = (3, 11)
OLDEST_UV = (0, 7)  # knows --torch-backend
NO_PIP = """This Python has no pip, so nothing can be installed.
Debian, Ubuntu: sudo apt install python3-pip      Fedora: sudo dnf install python3-pip
Elsewhere: install uv or conda, see README.md."""
SIZES = """Installing into .venv, once. On Linux torch comes with CUDA, for NVIDIA GPUs:
about 3 GB to download, 6 GB on disk; the notebooks need no GPU, and --cpu leaves CUDA
out. On macOS and Windows torch is small anyway."""
OFFLINE = "The installation failed: see the message above. Is there a network?"


def main(words: list[str]) -> int:
    """Install what is missing, then start JupyterLab or pytest; its exit status."""
    if sys.version_info[:2] < OLDEST:
        return complain(f"Python 3.11 or newer is needed; this is {sys.version}.")
    cpu = words[:1] == ["--cpu"]
    words = words[1:] if cpu else words
    testing = words[:1] == ["test"]
    if words and not testing:
        return complain(f"{words[0]!r} is unknown.\n\n{__doc__}")
    steps = []
    if not (python_inside() and is_complete(testing)):
        uv = find_uv()
        if uv is None:
            return complain(OFFLINE if importlib.util.find_spec("pip") else NO_PIP)
        steps = [] if python_inside() else [[*uv, "venv", "--quiet", str(ENVIRONMENT)]]
        steps.append(install_command(uv, testing, cpu))
        print(SIZES, flush=True)
    for step in steps:
        if subprocess.run(step, cwd=HERE, env=without_outer_environment()).returncode:
            return complain(OFFLINE)
    command = [str(python_inside()), "-m", *what_to_run(words[1:] if testing else None)]
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:  # Ctrl-C reaches JupyterLab as well, which asks back and then ends by itself
        return subprocess.run(command, cwd=HERE).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def find_uv() -> list[str] | None:
    """How to call uv, after installing it into `TOOLS` if need be; None without pip.

    `pip install --target` is also allowed where a system manages its Python.
    """
    of_this_python = [sys.executable, "-m", "uv"]
    if importlib.util.find_spec("uv") and serves(of_this_python):
        return of_this_python
    found = shutil.which("uv")
    if found and serves([found]):
        return [found]
    inside = TOOLS / "bin" / ("uv.exe" if os.name == "nt" else "uv")
    if not inside.exists():
        if importlib.util.find_spec("pip") is None:
            return None
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
        quiet = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}  # in a container
        subprocess.run([*pip, str(TOOLS), "uv"], env=quiet, check=False)
    return [str(inside)] if inside.exists() else None


def serves(uv: list[str]) -> bool:
    """Whether that uv runs, and is new enough to leave CUDA out."""
    done = subprocess.run([*uv, "--version"], capture_output=True, text=True)
    number = re.match(r"uv (\d+)\.(\d+)", done.stdout or "")
    return bool(number) and tuple(map(int, number.groups())) >= OLDEST_UV


def install_command(uv: list[str], testing: bool, cpu: bool) -> list[str]:
    """Install this package as it lies here, with what it needs."""
    command = [*uv, "pip", "install", "--python", str(ENVIRONMENT)]
    if cpu:
        command += ["--torch-backend", "cpu"]
    return [*command, "-e", ".[dev]" if testing else "."]


def python_inside() -> Path | None:
    """The Python of the environment, if there is one, and the one it was made from."""
    places = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "Scripts" / "python.exe"
    settings, home = ENVIRONMENT / "pyvenv.cfg", None
    if settings.exists():  # on Windows only this tells that the other one is gone
        text = settings.read_text(encoding="utf-8")
        home = re.search(r"^home *= *(.+?) *$", text, re.MULTILINE)
    if home and not Path(home[1]).exists():
        return None
    return next((place for place in places if place.exists()), None)


def is_complete(testing: bool) -> bool:
    """Whether the environment has this folder's package, and what that asks for now."""
    question = f"""
import json
import os
import sys
import tomllib
from importlib.metadata import distribution, version
from urllib.parse import urlsplit
from urllib.request import url2pathname
from packaging.requirements import Requirement
with open({str(PROJECT)!r}, "rb") as file:
    project = tomllib.load(file)["project"]
source = json.loads(distribution(project["name"]).read_text("direct_url.json"))
if not os.path.samefile(url2pathname(urlsplit(source["url"]).path), "."):
    sys.exit(1)  # the folder was moved, or copied
lines = project["dependencies"]
if {testing}:
    lines += project["optional-dependencies"]["dev"]
for need in map(Requirement, lines):
    if need.marker is None or need.marker.evaluate():
        if version(need.name) not in need.specifier:
            sys.exit(1)
"""
    command = [str(python_inside()), "-P", "-c", question]  # not what lies here
    return subprocess.run(command, cwd=HERE, capture_output=True).returncode == 0


def what_to_run(for_pytest: list[str] | None) -> list[str]:
    """Module and arguments: pytest with the given ones, or JupyterLab for None."""
    if for_pytest is not None:
        return ["pytest", *for_pytest]
    is_root = getattr(os, "geteuid", lambda: 1)() == 0  # in a container, say
    return ["jupyterlab", *(["--allow-root"] if is_root else []), "notebooks"]


def without_outer_environment() -> dict[str, str]:
    """This process's variables but those of an active environment: uv would warn.

    And an environment whose Python is gone is made anew.
    """
    outer = ("VIRTUAL_ENV", "CONDA_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    return {**kept, "UV_VENV_CLEAR": "1"}


def complain(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
