"""The notebooks in JupyterLab, in a real browser: opened, run, moved, opened again.

Needs Chromium (Debian: `apt install chromium`) and Playwright; skipped without them.
Screenshots of every screenful at 1366 × 900, and of the first also at twice the
density, go to the folder `$SCREENSHOTS`, if that is set.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from execute_notebooks import NOTEBOOKS, all_notebooks

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (  # no sandbox for root in a container, and no calls to other hosts
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update"),
)
OPENED = ("01", "04", "09", "10", "11", "14", "15")
MOVED = ("04", "09")  # with sliders
TRAINED = ("10",)  # with progress bars
BAR = ".jp-Notebook .jp-OutputArea .progress-bar"
PATHS = {path.name[:2]: path for path in all_notebooks() if path.name[:2] in OPENED}
TOKEN = "loopback"
SETTINGS = {
    # every cell in the page, also those out of sight
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    # no question about news in front of a notebook
    "apputils-extension/notification": '{"fetchNews": "false"}',
}
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = [...panel.content.widgets].map(w => w.model.toJSON());
  return {
    cells: cells.filter(c => c.cell_type === 'code' && c.source.length),
    status: panel.sessionContext.session?.kernel?.status ?? 'none',
  };
}"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on loopback over a copy of the notebooks; yields its address."""
    folder = tmp_path_factory.mktemp("lab")
    ignored = shutil.ignore_patterns("solutions", "runs", "*.png")
    shutil.copytree(NOTEBOOKS, folder / "notebooks", ignore=ignored)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "settings" / "@jupyterlab"
    for name, text in SETTINGS.items():
        (settings / name).parent.mkdir(parents=True)
        (settings / f"{name}.jupyterlab-settings").write_text(text)
    options = [
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
        "--LabApp.news_url=",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
    ]
    variables = {"CIFAR10_SOURCE": "sample", "CIFAR_GUESSES": str(folder / "g.json")}
    with open(folder / "log.txt", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env={**os.environ, **variables},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: answers(f"{address}/api?token={TOKEN}"), 120)
            yield address, folder / "notebooks"
        finally:
            server.terminate()
            server.wait(60)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture
def page(browser):
    size = {"width": 1366, "height": 900}
    window = browser.new_page(viewport=size, device_scale_factor=2)
    window.set_default_timeout(120_000)
    yield window
    window.close()


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def wait_for(ready, seconds: float):
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < end, f"not ready within {seconds} s"
        time.sleep(0.5)
    return answer


def open_notebook(page, lab, name: str) -> None:
    page.goto(f"{lab[0]}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    ready = "() => window.jupyterapp?.shell.currentWidget?.context?.isReady"
    page.wait_for_function(ready)
    page.wait_for_function(f"() => ({STATE})().cells.length > 0")


def command(page, name: str) -> None:
    """Start one of JupyterLab's commands without waiting for its end."""
    page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{name}') }}")


def run_all(page, seconds: float) -> list[dict]:
    """Run all cells and wait for the last; the code cells with their outputs."""
    page.wait_for_function(f"() => ({STATE})().status === 'idle'")
    command(page, "notebook:run-all-cells")

    def finished():
        state = page.evaluate(STATE)
        failed = [o for c in state["cells"] for o in c["outputs"] if is_error(o)]
        assert not failed, failed[0]["evalue"]
        done = all(cell["execution_count"] for cell in state["cells"])
        return state["status"] == "idle" and done and state["cells"]

    command_done = (
        "() => window.jupyterapp.commands.isEnabled('notebook:run-all-cells')"
    )
    page.wait_for_function(command_done)
    return wait_for(finished, seconds)


def is_error(output: dict) -> bool:
    return output["output_type"] == "error"


def pictures(page) -> list[bool]:
    """For each picture of the notebook in the page, whether it is there to see."""
    return page.eval_on_selector_all(
        ".jp-Notebook .jp-OutputArea img",
        "all => all.map(i => i.complete && i.naturalWidth > 50 && i.clientWidth > 50)",
    )


def blurred(page) -> list[str]:
    """Pictures with fewer pixels than a screen of twice the density has for them."""
    return page.eval_on_selector_all(
        ".jp-Notebook .jp-OutputArea img",
        """all => all.filter(i => i.naturalWidth < 2 * i.clientWidth - 2)
             .map(i => `${i.naturalWidth} for ${i.clientWidth}: ${i.alt}`)""",
    )


def stored_pictures(path: Path) -> int:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def too_wide(page) -> list[str]:
    """Outputs that reach beyond the notebook's column."""
    return page.eval_on_selector_all(
        ".jp-OutputArea-output img, .jp-OutputArea-output svg",
        """all => all.filter(i => i.getBoundingClientRect().right >
             i.closest('.jp-Notebook').getBoundingClientRect().right + 1)
             .map(i => i.outerHTML.slice(0, 80))""",
    )


def keep_screenshots(page, name: str) -> None:
    """Screenful by screenful, from the notebook's top."""
    if not os.environ.get("SCREENSHOTS"):
        return
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    panel = page.locator(".jp-WindowedPanel-outer").first
    height, window = panel.evaluate("p => [p.scrollHeight, p.clientHeight]")
    for number, top in enumerate(range(0, height, window)):
        panel.evaluate("(p, top) => p.scrollTo(0, top)", top)
        page.screenshot(path=folder / f"{name}-{number:02d}.png", scale="css")
    panel.evaluate("p => p.scrollTo(0, 0)")
    page.screenshot(path=folder / f"{name}-dense.png", scale="device")


@pytest.mark.parametrize("number", list(PATHS))
def test_notebook_in_the_browser(lab, page, number):
    """Stored outputs at once; all cells run; widgets move; opened again, no error."""
    path = PATHS[number]
    open_notebook(page, lab, path.name)
    seen = wait_for(lambda: len(pictures(page)) == stored_pictures(path), 60)
    assert seen and all(pictures(page)) and not too_wide(page) and not blurred(page)
    keep_screenshots(page, f"{number}-opened")
    cells = run_all(page, 900)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert sum("image/png" in o.get("data", {}) for o in outputs) > 0
    wait_for(lambda: all(pictures(page)), 60)
    assert "Error displaying widget" not in page.inner_text(".jp-Notebook")
    if number in MOVED:
        move_a_slider(page)
    if number in TRAINED:
        assert page.locator(BAR).count() > 3
    keep_screenshots(page, f"{number}-ran")
    open_again_without_its_kernel(page, lab, path.name)
    assert len(pictures(page)) >= stored_pictures(path)
    assert "Error displaying widget" not in page.inner_text(".jp-Notebook")


def open_again_without_its_kernel(page, lab, name: str) -> None:
    """As on the next day: saved, its kernel ended, opened, with a new kernel."""
    for step in ("docmanager:save", "notebook:shutdown-kernel"):
        page.evaluate(f"() => window.jupyterapp.commands.execute('{step}')")
    open_notebook(page, lab, name)
    page.wait_for_function(f"() => ({STATE})().status === 'idle'")
    page.wait_for_timeout(3_000)  # for widgets that no longer are


def move_a_slider(page) -> None:
    """One step to the right, by keyboard; its picture becomes another."""
    area = page.locator(".jp-OutputArea", has=page.locator(".widget-slider")).first
    area.scroll_into_view_if_needed()
    picture = area.locator("img").first
    before = picture.get_attribute("src")
    handle = area.locator(".noUi-handle").first
    handle.focus()
    handle.press("ArrowRight")
    wait_for(lambda: area.locator("img").first.get_attribute("src") != before, 30)


def test_a_stopped_run_leaves_a_usable_model(lab, page):
    """The stop button during `fit`: the next cell uses what has been trained."""
    code = (
        "from cifar_helpers.data import load_cifar10\n"
        "from cifar_helpers.model import NetConfig\n"
        "from cifar_helpers.recipes import Recipe, make_model\n"
        "from cifar_helpers.training import fit\n"
        "train = load_cifar10().train\n"
        "recipe = Recipe(epochs=500)\n"
        "model, history = fit(make_model(NetConfig(), recipe, train.images), train, "
        "recipe)"
    )
    look = (
        "from cifar_helpers.evaluation import evaluate\n"
        "print('stopped', history.interrupted, len(train))\n"
        "print(f'accuracy {evaluate(model, load_cifar10().test)}')"
    )
    cells = [nbformat.v4.new_code_cell(source) for source in (code, look)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, lab[1] / "stop.ipynb")
    open_notebook(page, lab, "stop.ipynb")
    page.wait_for_function(f"() => ({STATE})().status === 'idle'")
    command(page, "notebook:run-all-cells")
    wait_for(lambda: "images/s" in page.inner_text(".jp-Notebook"), 120)
    command(page, "notebook:interrupt-kernel")

    def printed():
        _, looked = page.evaluate(STATE)["cells"]
        text = "".join(output.get("text", "") for output in looked["outputs"])
        return text if "accuracy" in text else None

    assert wait_for(printed, 120).startswith("stopped True 2000")
    assert "Traceback" not in page.inner_text(".jp-Notebook")
    assert page.locator(BAR).count() == 1
    keep_screenshots(page, "stopped")
