"""`start.py` installs what is missing, by what is there, and says what is wrong."""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def start(monkeypatch, tmp_path):
    """The script as a module, in an empty folder; `calls` are the commands it ran."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, folder in (("HERE", "."), ("ENVIRONMENT", ".venv"), ("TOOLS", ".tools")):
        monkeypatch.setattr(module, name, tmp_path / folder)
    module.calls = []
    module.status = 0

    def run(command, **options):
        if "--version" in command:  # of a uv that has been found
            return subprocess.CompletedProcess(command, 0, "uv 0.9.5 (Linux)")
        module.calls.append([str(word) for word in command])
        if "venv" in command:
            inside = tmp_path / ".venv" / "bin" / "python"
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.unlink(missing_ok=True)
            inside.touch()
            (tmp_path / ".venv" / "pyvenv.cfg").write_text(f"home = {tmp_path}\n")
        return subprocess.CompletedProcess(command, module.status)

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module.shutil, "which", lambda name: "/bin/uv")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    return module


def test_a_fresh_copy_is_installed_and_opened(start, tmp_path, capsys):
    assert start.main([]) == 0
    made, installed, opened = start.calls
    assert made == ["/bin/uv", "venv", "--quiet", str(tmp_path / ".venv")]
    assert installed[:3] == ["/bin/uv", "pip", "install"]
    assert installed[-2:] == ["-e", "."]
    assert opened[1:3] == ["-m", "jupyterlab"] and opened[-1] == "notebooks"
    assert ("--allow-root" in opened) == (getattr(os, "geteuid", lambda: 1)() == 0)
    assert "3 GB" in capsys.readouterr().out


def test_the_tests_get_their_own_needs_and_words(start):
    assert start.main(["test", "-k", "depthwise"]) == 0
    assert start.calls[1][-2:] == ["-e", ".[dev]"]
    assert start.calls[-1][1:] == ["-m", "pytest", "-k", "depthwise"]


def test_ctrl_c_leaves_the_end_to_what_was_started(start, monkeypatch):
    """JupyterLab asks back; killed at once, it could not."""
    run = start.subprocess.run

    def stopped(command, **options):
        if "jupyterlab" in command:
            signal.raise_signal(signal.SIGINT)
            return subprocess.CompletedProcess(command, 5)
        return run(command, **options)

    monkeypatch.setattr(start.subprocess, "run", stopped)
    before = signal.getsignal(signal.SIGINT)
    assert start.main([]) == 5
    assert signal.getsignal(signal.SIGINT) is before


def test_without_cuda(start):
    assert start.main(["--cpu", "test"]) == 0
    command = start.calls[1]
    assert command[command.index("--torch-backend") + 1] == "cpu"


def test_a_complete_environment_is_used_as_it_is(start, capsys):
    start.main([])
    assert "Installing" in capsys.readouterr().out
    start.calls.clear()
    assert start.main([]) == 0
    asked, opened = start.calls  # what is there; JupyterLab
    assert asked[2] == "-c" and "jupyterlab" in opened
    assert "Installing" not in capsys.readouterr().out


def test_a_complete_environment_needs_neither_uv_nor_pip(start, monkeypatch):
    start.main([])
    start.calls.clear()
    monkeypatch.setattr(start, "find_uv", lambda: None)
    assert start.main([]) == 0 and "jupyterlab" in start.calls[-1]


def test_uv_that_cannot_be_fetched_is_not_a_missing_pip(start, monkeypatch, capsys):
    monkeypatch.setattr(start, "find_uv", lambda: None)
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: name == "pip")
    assert start.main([]) == 1 and not start.calls
    assert "Is there a network?" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["a link", "a launcher"])
def test_an_environment_whose_python_is_gone_is_made_anew(start, tmp_path, system):
    assert start.main([]) == 0
    python = tmp_path / ".venv" / "bin" / "python"
    if system == "a link":
        python.unlink()
        python.symlink_to(tmp_path / "gone")
    else:  # as on Windows
        settings = tmp_path / ".venv" / "pyvenv.cfg"
        settings.write_text(f"home = {tmp_path / 'gone'}\nversion = 3.11\n")
    start.calls.clear()
    assert start.main([]) == 0
    assert ["venv" in call for call in start.calls] == [True, False, False]


@pytest.mark.slow
def test_uv_makes_an_environment_in_place_of_a_broken_one(start, monkeypatch, tmp_path):
    monkeypatch.undo()
    made = [sys.executable, "-m", "uv", "venv", "--offline", "--quiet"]
    made += ["--python", sys.executable, str(tmp_path / ".venv")]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    (tmp_path / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    subprocess.run(made, env=start.without_outer_environment(), check=True)
    assert (tmp_path / ".venv" / "bin" / "python").exists()


def test_completeness_is_asked_of_the_environment_itself(tmp_path):
    """This environment has what the tests need; a package more is missed."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.python_inside = lambda: Path(sys.executable)
    assert module.is_complete(testing=True)
    module.PROJECT = tmp_path / "pyproject.toml"
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for place, users in (("dependencies = [", (0, 1)), ("dev = [", (1,))):
        wanted = text.replace(place, place + '\n"a_package_that_came_later",')
        module.PROJECT.write_text(wanted, encoding="utf-8")
        missed = [n for n in (0, 1) if not module.is_complete(testing=bool(n))]
        assert missed == [*users]
    module.PROJECT = ROOT / "pyproject.toml"
    module.HERE = tmp_path  # as if the folder had been moved since, or copied
    assert not module.is_complete(testing=True)
    module.HERE = ROOT
    module.python_inside = lambda: Path("/usr/bin/python3")
    if Path("/usr/bin/python3").exists():
        assert not module.is_complete(testing=True)


def test_uv_is_installed_where_it_is_missing(start, monkeypatch, tmp_path):
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    monkeypatch.setattr(
        start.importlib.util, "find_spec", lambda name: name == "pip" or None
    )

    uv = tmp_path / ".tools" / "bin" / ("uv.exe" if os.name == "nt" else "uv")

    def install(command, **options):
        start.calls.append(command)
        uv.parent.mkdir(parents=True)
        uv.touch()

    monkeypatch.setattr(start.subprocess, "run", install)
    assert start.find_uv() == [str(uv)]
    (command,) = start.calls
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-3:] == ["--target", str(tmp_path / ".tools"), "uv"]
    assert start.find_uv() and len(start.calls) == 1  # once


def test_without_pip_the_remedy_is_named(start, monkeypatch, capsys):
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None)
    assert start.main([]) == 1 and not start.calls
    assert "apt install python3-pip" in capsys.readouterr().err


def test_old_pythons_and_unknown_words_are_refused(start, monkeypatch, capsys):
    for words in (["tset"], ["--cpu", "tset"], ["--cpu", "--cpu"]):
        assert start.main(words) == 1 and not start.calls
        assert f"{words[-1]!r} is unknown" in capsys.readouterr().err
    monkeypatch.setattr(start.sys, "version_info", (3, 10, 13))
    assert start.main([]) == 1
    assert "3.11 or newer" in capsys.readouterr().err and not start.calls


def test_a_failed_installation_starts_nothing(start, capsys):
    start.status = 2
    assert start.main([]) == 1
    assert len(start.calls) == 1 and "Is there a network?" in capsys.readouterr().err


def test_it_needs_nothing_but_the_standard_library():
    """Where it runs itself; what it asks of the environment is a text to this file."""
    tree = ast.parse((ROOT / "start.py").read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    imported = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {"subprocess", "pathlib"} <= imported
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("status", "printed", "serves"),
    [
        (127, "", False),  # as pyenv leaves one where uv belongs to another Python
        (0, "uv 0.6.17", False),
        (0, "uv 0.7.0 (62ed17b23 2025-04-29)", True),
        (0, "uv 1.0.3", True),
    ],
)
def test_a_uv_that_does_not_serve_is_passed_over(
    start, monkeypatch, status, printed, serves
):
    done = subprocess.CompletedProcess([], status, printed)
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: done)
    assert start.find_uv() == (["/bin/uv"] if serves else None)
    here = lambda name: name == "uv" or None  # noqa: E731
    monkeypatch.setattr(start.importlib.util, "find_spec", here)
    assert start.find_uv() == ([sys.executable, "-m", "uv"] if serves else None)


@pytest.mark.slow
def test_uv_takes_a_torch_without_cuda_from_its_own_index(start, monkeypatch, tmp_path):
    """The command line that `--cpu` gives, without a network: where uv looks."""
    monkeypatch.undo()
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--python", sys.executable, tmp_path], check=True)
    looked = {}
    for cpu in (False, True):
        command = [*start.install_command(uv, False, cpu)[:-2], "torch"]
        command[command.index("--python") + 1] = str(tmp_path)
        offline = ["--offline", "--no-cache", "--no-config", "--dry-run", "--verbose"]
        done = subprocess.run([*command, *offline], capture_output=True, text=True)
        assert done.returncode and "network was disabled" in done.stderr
        looked[cpu] = "/whl/cpu/torch/" in done.stderr
    assert looked == {False: False, True: True}
