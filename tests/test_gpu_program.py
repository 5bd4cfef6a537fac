"""The GPU program, rehearsed on a CPU: every form, every piece, interrupted once."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cifar_helpers import checkpoints, runtime
from cifar_helpers.blocks import GatedUnit
from cifar_helpers.data import Batches
from cifar_helpers.model import (
    CIFAR10Net,
    NetConfig,
    count_multiply_adds,
    count_parameters,
)
from cifar_helpers.pretrained import read_history
from cifar_helpers.recipes import PRESETS, make_model
from cifar_helpers.trainer import Trainer
from cifar_helpers.training import fit
from tests.benchmarks import gpu, gpu_pieces, gpu_teacher, stepwise
from tests.benchmarks.gpu_files import SPEED, return_results
from tests.benchmarks.gpu_forms import (
    BATCH_SIZE,
    DESIGNS,
    Form,
    GraphTrainer,
    choose,
    forms_to_measure,
    recipe_of,
    synthetic,
    trainer_of,
    use,
)
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import read_rows

SMALL = NetConfig(  # both kinds of depthwise convolution, and a stride of the branches
    channels=32,
    deep_channels=32,
    hidden_channels=32,
    branch_channels=4,
    out_channels=8,
    unit="gated",
    aspp_stride=2,
    initial_stride=2,
)
EXACT = Form(precision="float32")


@pytest.mark.parametrize(
    "design, parameters, multiply_adds",
    [("A", 198_748, 62_762_688), ("C", 196_915, 37_344_464)],
)
def test_designs_have_their_numbers(design, parameters, multiply_adds):
    model = CIFAR10Net(DESIGNS[design])
    assert count_parameters(model) == parameters
    assert count_multiply_adds(model) == multiply_adds


@pytest.mark.parametrize("batch_size", [128, 500, 512])
def test_decay_of_an_epoch_is_that_of_the_champion(batch_size):
    recipe = recipe_of(200, Form(), 50_000, batch_size=batch_size)
    steps = 50_000 / batch_size
    for rate, decay, known in (
        (recipe.learning_rate, recipe.weight_decay, 0.1 * 0.02),
        (recipe.sgd_learning_rate, recipe.sgd_weight_decay, 0.1 * 5e-4),
    ):
        assert rate * decay * steps == pytest.approx(known * 50_000 / 128)
    assert recipe.learning_rate == pytest.approx(0.2 * math.sqrt(batch_size / 512))
    images_remembered = batch_size / (1 - recipe.ema_decay)
    assert images_remembered == pytest.approx(500 * 128, rel=0.01)


def test_recipe_of_a_gpu_in_the_champions_batches_is_the_champions():
    recipe = recipe_of(55, Form(precision="auto"), 50_000)
    assert asdict(recipe) == pytest.approx(asdict(PRESETS["champion"][1]))


# ---- forms ---------------------------------------------------------------------------


def gradients_of(model, images):
    model.zero_grad()
    output = model(images)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return output.detach(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("depthwise", ["dense", "shifts"])
@pytest.mark.parametrize("config", [DESIGNS["A"], DESIGNS["baseline"], SMALL])
def test_forms_of_depthwise_convolutions_are_exact(depthwise, config):
    torch.manual_seed(0)
    model = CIFAR10Net(config).double()
    images = torch.randn(4, 3, 32, 32).double()
    names, kinds = list(model.state_dict()), [type(m) for m in model.modules()]
    output, gradients = gradients_of(model, images)
    use(model, depthwise)
    assert list(model.state_dict()) == names
    assert kinds != [type(m) for m in model.modules()]
    again, same_gradients = gradients_of(model, images)
    atol = 1e-4 if depthwise == "shifts" else 1e-9  # shifts are summed in float32
    torch.testing.assert_close(again, output, atol=atol, rtol=atol)
    largest = max(g.abs().max().item() for g in gradients)
    for first, second in zip(gradients, same_gradients, strict=True):
        assert (first - second).abs().max() < atol * largest
    use(model, "plain")
    assert kinds == [type(m) for m in model.modules()]


class RecordedGraph:
    """A CUDA graph on the CPU: operations are noted, and run again where they wrote."""

    def __init__(self):
        self.calls = []

    def replay(self):
        with torch.no_grad():
            for function, arguments, named, old in self.calls:
                new = function(*arguments, **named)
                for place, value in zip(
                    tree_leaves(old), tree_leaves(new), strict=True
                ):
                    if torch.is_tensor(place) and place.data_ptr() != value.data_ptr():
                        place.copy_(value)


class Recording(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        self.graph.calls.append((function, arguments, named or {}, result))
        return result


class NoStream:
    def wait_stream(self, other):
        pass


@pytest.fixture
def graphs_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", NoStream)
    monkeypatch.setattr(torch.cuda, "current_stream", NoStream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", Recording)


def test_replayed_steps_train_like_plain_ones(graphs_on_a_cpu):
    """Batches of 8, 8 and 4, at first of small images: four graphs, used in turn."""
    data = synthetic(20)
    recipe = replace(recipe_of(3, EXACT, 20, batch_size=8), ema_decay=0.5)
    kept = []

    def make_trainer(*arguments):
        kept.append(GraphTrainer(*arguments))
        return kept[-1]

    (plain, plain_history), (replayed, history) = (
        fit(make_model(SMALL, recipe, data.images), data, recipe, make_trainer=kind)
        for kind in (Trainer, make_trainer)
    )
    assert sorted(shape[0] for shape in kept[0].captured) == [4, 4, 8, 8]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(replayed.state_dict()[name], value)
    losses = [[row["train_loss"] for row in h] for h in (plain_history, history)]
    assert losses[0] == pytest.approx(losses[1])


def test_units_are_compiled_in_training_and_plain_in_the_average(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: seen.add(self))
    data, seen = synthetic(8), set()
    recipe = recipe_of(1, EXACT, 8, batch_size=8)
    model = make_model(SMALL, recipe, data.images)
    trainer = trainer_of(replace(EXACT, compiled="units"))(model, recipe, 1)
    assert type(trainer) is Trainer
    units = {m for m in model.modules() if isinstance(m, GatedUnit)}
    assert seen == units and len(units) == 5


def test_a_captured_step_draws_no_random_numbers_and_reads_no_values(graphs_on_a_cpu):
    """Both would be frozen, or forbidden, in a real graph."""
    data = synthetic(8)
    recipe = recipe_of(3, EXACT, 8, batch_size=8)
    trainer = GraphTrainer(make_model(DESIGNS["A"], recipe, data.images), recipe, 9)
    for images, labels in Batches(data, 8):
        trainer.train_step(images, labels)
    ((graph, *_),) = trainer.captured.values()
    names = {str(function) for function, *_ in graph.calls}
    assert "aten.convolution.default" in names
    bad = ("rand", "bernoulli", "_local_scalar_dense", "nonzero", "_to_copy")
    assert not [name for name in names if any(word in name for word in bad)]


def test_forms_for_a_gpu_begin_with_the_one_that_always_works():
    measured = forms_to_measure(torch.device("cuda"), "A")
    assert measured[0] == ("A", Form(), BATCH_SIZE)
    assert len(measured) == len(set(measured))
    assert {design for design, *_ in measured} == {"A", "C", "baseline"}
    assert {form.precision for _, form, _ in measured} == {
        "bfloat16",
        "float16",
        "float32",
        "tf32",
    }


def measurement(form, speed, loss=2.0, **other):
    row = {"design": "A", "form": asdict(form), "batch_size": 500, "hardware": "one"}
    row |= {"losses": [2.1, loss], "gradients": [1.0, 0.1, 0.001]}
    return row | {"images_per_second": speed} | other


def test_the_fastest_form_that_trains_is_taken():
    graph = Form(graph=True)
    rows = [
        measurement(Form(), 100.0),
        measurement(replace(graph, compiled="units"), 950.0),  # not chosen
        measurement(graph, 300.0, loss=2.03),
        measurement(replace(graph, depthwise="dense"), 400.0, loss=1.8),  # wrong
        measurement(replace(graph, depthwise="shifts"), 500.0, gradients=[1, 0.4, 0]),
        measurement(replace(graph, compiled="whole"), 900.0, hardware="another"),
        measurement(replace(graph, precision="tf32"), 800.0),
        measurement(graph, 700.0, batch_size=1000),
        measurement(graph, 600.0, design="C"),
    ]
    failed = measurement(replace(graph, depthwise="shifts"), 0.0, error="it fell")
    del failed["losses"]
    assert choose([*rows, failed], "A", "one") == (graph, 300.0)
    assert choose(rows, "A", "two") == (Form(), None)
    assert choose([rows[0], rows[3]], "A", "one") == (Form(), 100.0)


# ---- measuring -----------------------------------------------------------------------


@pytest.fixture
def options(tmp_path):
    command = ["--device", "cpu", "--source", "sample", "--images", "100"]
    command += ["--batch-size", "50", "--epochs", "2", "--seconds", "0"]
    command += ["--teacher-width", "8", "--design", "A"]
    command += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    return command


def test_a_measurement_that_fell_is_noted_and_not_repeated(tmp_path, monkeypatch):
    forms = [("A", replace(EXACT, graph=graph), 50) for graph in (False, True)]
    monkeypatch.setattr(gpu_pieces, "forms_to_measure", lambda device, design: forms)
    wanted = {"work": str(tmp_path), "device": "cpu", "design": "A", "seconds": 0}
    wanted |= {"until": time.time() + 100, "command": "c"}
    monkeypatch.setattr(torch.cuda, "Stream", None)  # as without CUDA: no graph
    first = gpu_pieces.row_of(*forms[0], torch.device("cpu"))
    (tmp_path / "begun.json").write_text(json.dumps(first))
    for _ in range(2):
        gpu_pieces.measure_all(wanted)
        fell, other = gpu_pieces.measured(tmp_path)
        assert fell == first | {"error": "it fell"}
        assert other["command"] == "c"
        assert "error" in other  # there is no CUDA here


def test_only_one_process_uses_the_gpu_at_a_time(tmp_path):
    """One that prepares is waited for; when time is over, it and its own are ended."""
    marker, running = tmp_path / "prepared.json", tmp_path / "prepared.running"
    assert not gpu.another_prepared(marker, 0)
    command = [sys.executable, "-c", "import time; time.sleep(100)"]
    pair = [subprocess.Popen(command) for _ in range(2)]
    here = [gpu.this_machine(), [process.pid for process in pair]]
    for other in (["elsewhere", ""], [here[0][0], "an earlier start of it"]):
        running.write_text(json.dumps([other, here[1]]))
        assert not gpu.another_prepared(marker, 0) and not running.exists()
    assert [process.poll() for process in pair] == [None] * 2
    running.write_text(json.dumps(here))
    assert gpu.another_prepared(marker, 0) and not running.exists()
    assert [process.wait(10) for process in pair] == [-signal.SIGTERM] * 2
    running.write_text(json.dumps([gpu.this_machine(), [pair[0].pid]]))
    assert not gpu.another_prepared(marker, 0) and not running.exists()


def test_what_another_machine_measured_stands_beside_this_ones(tmp_path):
    """A run is taken up after this machine has measured its forms."""
    there, work, out = (tmp_path / name for name in ("there", "work", "out"))
    for folder, mine in ((there, "1"), (work, "2")):
        folder.mkdir()
        row = {"form": asdict(Form()), "words": "plain", "n": mine}
        (folder / "measured.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "prepared.json").write_text(mine)
    (there / "plan.json").write_text("{}")
    (there / "teacher.safetensors").write_text("weights")
    return_results(there, out)
    gpu.take_up(out / "gpu.tar", work)
    assert [row["n"] for row in gpu_pieces.measured(work)] == ["1", "2"]
    assert (work / "prepared.json").read_text() == "2"
    assert (work / "plan.json").exists()
    assert (work / "teacher.safetensors").read_text() == "weights"


# ---- the command ---------------------------------------------------------------------


def start(options, pieces):
    command = [sys.executable, "-m", "tests.benchmarks.gpu", *options]
    command += ["--minutes", "5", "--pieces", *pieces]
    without = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # no graph, wherever it runs
    return subprocess.Popen(command, start_new_session=True, env=without)


@pytest.mark.slow
def test_everything_by_one_command_interrupted_once(options, tmp_path):
    """Killed after the champion's first epoch; another machine goes on."""
    pieces = ["champion", "to-86.48", "teacher", "taught-0", "seed-1", "baseline-0"]
    out = tmp_path / "out"
    process = start(options, pieces)
    began = time.time()
    while not (out / "gpu.tar").exists() or not checkpoint_in(out / "gpu.tar"):
        assert process.poll() is None and time.time() - began < 120
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.unpack_archive(out / "gpu.tar", tmp_path / "copy")
    saved = checkpoints.load(tmp_path / "copy" / "champion-A-0.checkpoint")
    assert [row["epoch"] for row in saved["history"]] == [1]

    options[options.index("--work") + 1] = str(tmp_path / "other")
    options += ["--resume", str(out / "gpu.tar")]
    assert start(options, pieces).wait(200) == 0
    runs = {row["run"]: row for row in read_rows(out / "runs.csv")}
    names = ["champion-A-0", "teacher-A", "taught-A-0", "champion-A-1", "baseline-0"]
    assert list(runs) == names
    assert "label_smoothing" in runs["taught-A-0"]["recipe"]
    assert tuple(runs["baseline-0"]) == stepwise.COLUMNS
    assert {row["epochs"] for row in runs.values()} == {"2"}
    rows = read_rows(out / "speed.csv")
    speeds = {row["form"]: row["images_per_second"] for row in rows}
    assert list(speeds) == ["plain, eager", "plain, CUDA graph", "dense, eager"]
    assert speeds["plain, CUDA graph"] == ""  # there is no CUDA here
    assert float(speeds["plain, eager"]) > 0
    (timed,) = read_rows(out / "times.csv")
    assert timed["target_percent"] == "86.48" and timed["training_images"] == "90"
    assert len(list(out.iterdir())) <= 8

    shutil.unpack_archive(out / "gpu.tar", tmp_path / "end")
    ended = tmp_path / "end" / "runs"
    history = read_history(ended / "champion-A-0.csv")
    assert history[0] == saved["history"][0]  # the first epoch was not repeated
    assert len(history) == 2
    card = json.loads((ended / "champion-A-0.json").read_text())
    model = CIFAR10Net(NetConfig(**card["config"]))
    model.load_state_dict(load_file(ended / "champion-A-0.safetensors"))
    assert card["parameters"] == 198_748 and card["epochs_trained"] == 2
    assert "teacher" not in card
    card = json.loads((ended / "taught-A-0.json").read_text())
    assert card["teacher"]["config"]["width"] == 8
    assert (out / "teacher.safetensors").exists()
    assert not (tmp_path / "end" / "teacher.safetensors").exists()
    assert not list(tmp_path.glob("end/*.checkpoint*"))


def checkpoint_in(path):
    with tarfile.open(path) as tar:
        return "champion-A-0.checkpoint" in tar.getnames()


@pytest.fixture
def wanted(options, tmp_path, monkeypatch):
    """Options of a small champion of two epochs; its plan lies there already."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "measured.jsonl").touch()
    machine = {"hardware": "a GPU", "torch": "2.11.0"}
    (work / "plan.json").write_text(json.dumps({"epochs": 2, "machine": machine}))
    monkeypatch.setitem(gpu_pieces.DESIGNS, "A", SMALL)
    given = vars(gpu.parse([*options, "--pieces", "champion"]))
    return given | {"command": "", "safe": True, "until": 0.0}  # out of time at once


def test_run_that_was_cut_off_can_be_finished_where_it_is(wanted, tmp_path):
    gpu_pieces.Program(wanted).run()
    path = tmp_path / "work" / "champion-A-0.checkpoint"
    averaged = checkpoints.load(path)["averaged"]
    gpu_pieces.Program(wanted | {"finish": True}).run()
    runs = tmp_path / "work" / "runs"
    card = json.loads((runs / "champion-A-0.json").read_text())
    assert card["epochs_trained"] == 1 and card["recipe"]["epochs"] == 2
    assert (card["hardware"], card["torch"]) == ("a GPU", "2.11.0")
    weights = load_file(runs / "champion-A-0.safetensors")
    assert {f"module.{name}" for name in weights} == averaged.keys() - {"n_averaged"}
    for name, value in weights.items():
        assert torch.equal(value, averaged[f"module.{name}"])
    assert not path.exists()


def test_run_goes_on_in_another_form(wanted, tmp_path):
    """Fallen while compiled: the plain form takes its checkpoint over."""
    work = tmp_path / "work"
    program = gpu_pieces.Program(wanted)
    compiled = replace(program.form, compiled="whole")
    recipe = program.recipe("A", 2, 0, 100)
    program.run()
    path = work / "champion-A-0.checkpoint"
    gpu_pieces.take_over(path, recipe_of(2, compiled, 100, 0, 50))
    saved = checkpoints.load(path)
    assert saved["identity"]["recipe"]["compile"] and len(saved["history"]) == 1
    program = gpu_pieces.Program(wanted | {"until": time.time() + 100})
    program.run()
    card = json.loads((work / "runs" / "champion-A-0.json").read_text())
    assert card["recipe"] == asdict(recipe) and card["epochs_trained"] == 2
    assert not path.exists()
    before = (work / "runs.csv").read_text()
    gpu_pieces.Program(wanted | {"until": time.time() + 100}).run()
    assert (work / "runs.csv").read_text() == before  # judged once


def test_a_run_without_its_row_is_finished_again(wanted, tmp_path, monkeypatch):
    """Ended between its card and its row: the checkpoint is still there."""
    wanted = wanted | {"until": time.time() + 100}
    program, work = gpu_pieces.Program(wanted), tmp_path / "work"

    def ended(*_):
        raise SystemExit

    monkeypatch.setattr(program, "add_run", ended)
    with contextlib.suppress(SystemExit):
        program.run()
    assert (work / "runs" / "champion-A-0.json").exists()
    assert not (work / "runs.csv").exists()
    gpu_pieces.Program(wanted).run()
    assert [row["run"] for row in read_rows(work / "runs.csv")] == ["champion-A-0"]
    assert not (work / "champion-A-0.checkpoint").exists()


def test_a_piece_that_falls_is_tried_again_then_in_plain_form_then_left_out(
    tmp_path, monkeypatch
):
    started = []

    class Process:
        def __init__(self, what, options):
            started.append((options["pieces"], options["safe"]))
            self.returncode = int("seed-1" in options["pieces"])
            if self.returncode:
                (tmp_path / "piece").write_text("seed-1")

        def poll(self):
            return self.returncode

    monkeypatch.setattr(gpu, "start", Process)
    wanted = {"pieces": ["champion", "seed-1", "seed-2"], "until": time.time() + 9}
    wanted |= {"out": str(tmp_path / "out"), "command": "", "device": "cuda"}
    gpu.train(tmp_path, wanted)
    every, fewer = ["champion", "seed-1", "seed-2"], ["champion", "seed-2"]
    assert started == [*[(every, False)] * 2, (every, True), (fewer, True)]


@pytest.mark.parametrize("device, patient", [("cuda", False), ("cpu", True)])
def test_what_gives_no_sign_of_life_is_ended(tmp_path, monkeypatch, device, patient):
    """On a GPU; on a CPU an epoch may take as long as it likes."""
    silent = "import time; time.sleep(2)"
    alive = "import pathlib, time\nfor _ in range(20):\n    time.sleep(0.1)\n"
    alive += f"    pathlib.Path({str(tmp_path / 'alive')!r}).touch()"
    for code, ends in ((silent, patient), (alive, True)):
        started = []

        def start(what, options, code=code, started=started):
            started.append(subprocess.Popen([sys.executable, "-c", code]))
            return started[-1]

        monkeypatch.setattr(gpu, "PATIENCE_SECONDS", 0.5)
        monkeypatch.setattr(gpu, "start", start)
        wanted = {"pieces": ["champion"], "until": time.time() + 60, "device": device}
        gpu.train(tmp_path, wanted | {"out": str(tmp_path / "out")})
        codes = [process.returncode for process in started]
        assert codes == ([0] if ends else [-signal.SIGKILL] * 2)


def test_measuring_what_cannot_start_ends_at_once(tmp_path, monkeypatch):
    """A form that was ended from outside has not failed."""
    started, options = [], {"out": str(tmp_path / "out")}

    def start(what, options):
        started.append(what)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(gpu, "start", start)
    (tmp_path / "begun.json").write_text("{}")
    gpu.prepare(tmp_path, options, 60)
    assert started == ["measure"] * 2
    assert not (tmp_path / "begun.json").exists()


def test_measuring_goes_on_after_each_form_that_fails(tmp_path, monkeypatch):
    """Each failure ends a process; the fourth finds nothing left."""
    started, row = [], {"form": asdict(Form()), "words": "plain", "error": "no"}
    fails = f"""
with open({str(tmp_path / "measured.jsonl")!r}, "a") as file:
    file.write({json.dumps(row)!r} + "\\n")
raise SystemExit(1)"""

    def start(what, options):
        started.append(what)
        code = fails if len(started) < 4 else ""
        return subprocess.Popen([sys.executable, "-c", code])

    monkeypatch.setattr(gpu, "start", start)
    gpu.prepare(tmp_path, {"out": str(tmp_path / "out")}, 60)
    assert len(started) == 4 and len(gpu_pieces.measured(tmp_path)) == 3


def test_what_cannot_start_ends_at_once_and_blames_no_piece(tmp_path, monkeypatch):
    """No data, or no GPU; the name of a piece lies there from an earlier run."""
    started = []

    class Process:
        returncode = 1

        def __init__(self, what, options):
            started.append(options["pieces"])

        def poll(self):
            return self.returncode

    monkeypatch.setattr(gpu, "start", Process)
    (tmp_path / "piece").write_text("seed-1")
    wanted = {"pieces": ["champion", "seed-1"], "until": time.time() + 9}
    wanted |= {"out": str(tmp_path / "out"), "command": "", "device": "cuda"}
    gpu.train(tmp_path, wanted)
    assert started == [["champion", "seed-1"]] * 2
    assert "seed-1 fell" not in (tmp_path / "log.txt").read_text()


MISSING = """
import sys
missing = {"scipy", "sklearn", "pandas", "matplotlib", "seaborn", "filelock",
           "torchvision", "torchinfo", "IPython", "ipywidgets", "accelerate", "PIL"}
sys.modules |= dict.fromkeys(missing)  # as if they were not installed
from tests.benchmarks import gpu, gpu_pieces
from cifar_helpers.data import load_cifar10
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import CIFAR10Net
data = load_cifar10(source="sample")
evaluate(CIFAR10Net(), data.test.subset(slice(10)))
print(gpu_pieces.measure("C", gpu_pieces.Form(precision="float32"), 8, 0,
                         gpu_pieces.runtime.pick_device("cpu")))
"""


@pytest.mark.slow
def test_needs_nothing_but_torch_numpy_tqdm_and_safetensors():
    found = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert "images_per_second" in found.stdout


# ---- the teacher ---------------------------------------------------------------------


@pytest.mark.parametrize("kind, t", [(Trainer, 2.0), (GraphTrainer, 4.0)])
def test_taught_steps_follow_hinton(kind, t, graphs_on_a_cpu):
    """Loss and gradients beside those written with torch's own functions."""
    data = synthetic(8)
    recipe = replace(recipe_of(3, EXACT, 8, batch_size=8), label_smoothing=0.0)
    torch.manual_seed(1)
    teacher = ResNet8(ResNet8Config(width=8)).eval()
    model = make_model(SMALL, replace(recipe, zero_init_residual=False), data.images)
    model.head.dropout = torch.nn.Identity()
    trainer = gpu_teacher.taught(kind, teacher, t)(model, recipe, 3)
    trainer.train_mode()
    inputs, targets = trainer.augmented(data.images, data.labels)
    losses, _ = trainer.gradients(inputs, targets)
    found = [p.grad.clone() for p in model.parameters()]

    model.zero_grad()
    answers = model(inputs)
    own = F.nll_loss(answers, data.labels, reduction="none")
    with torch.no_grad():
        wanted = (teacher(inputs) / t).log_softmax(1)
    apart = F.kl_div(
        (answers / t).log_softmax(1), wanted, reduction="none", log_target=True
    ).sum(1)
    entropy = -(wanted.exp() * wanted).sum(1)
    loss = 0.1 * own + 0.9 * t**2 * (apart + entropy)
    torch.testing.assert_close(losses, loss.detach())
    loss.mean().backward()
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-3)


def test_teacher_is_read_as_it_was_written(tmp_path):
    torch.manual_seed(0)
    model, images = ResNet8(ResNet8Config(width=8)).eval(), torch.randn(4, 3, 32, 32)
    assert gpu_teacher.load_teacher(tmp_path, "cpu") is None
    wanted = model(images).detach()
    card = gpu_teacher.save_teacher(tmp_path, "teacher-A", model, {"torch": "2"})
    assert (card["name"], card["parameters"]) == ("teacher-A", 19_906)
    kept = json.loads((tmp_path / "runs" / "teacher-A.json").read_text())
    assert kept == card
    read = gpu_teacher.load_teacher(tmp_path, "cpu")
    torch.testing.assert_close(read(images), wanted, atol=2e-2, rtol=0)
    assert not any(p.requires_grad for p in read.parameters()) and not read.training


def test_without_a_teacher_nobody_is_taught(wanted, tmp_path):
    gpu_pieces.Program(wanted | {"pieces": ["taught-0"], "until": 9e9}).run()
    assert "there is no teacher" in (tmp_path / "work" / "log.txt").read_text()
    assert not (tmp_path / "work" / "runs.csv").exists()


def test_maps_can_lie_one_after_the_other(graphs_on_a_cpu):
    data, recipe = synthetic(8), recipe_of(3, EXACT, 8, batch_size=8)
    form = replace(EXACT, channels_last=False)
    trainer = trainer_of(form)(make_model(SMALL, recipe, data.images), recipe, 3)
    inputs, _ = trainer.augmented(data.images, data.labels)
    assert inputs.is_contiguous()
    weight = trainer.model.initial.conv.weight
    assert weight.is_contiguous()
    assert not weight.is_contiguous(memory_format=torch.channels_last)
    assert str(form) == "plain, eager, channels first"


# ---- what a GPU has given ------------------------------------------------------------


@pytest.mark.parametrize("name", ["champion-A-0", "taught-A-0", "teacher-A"])
def test_kept_cards_and_rows_of_a_gpu_agree(name):
    folder = runtime.RESULTS / "gpu"
    card = json.loads((folder / f"{name}.json").read_text())
    rows = read_rows(runtime.RESULTS / "champion.csv")
    (row,) = (row for row in rows if row["run"] == name)
    for entry in ("parameters", "multiply_adds", "test_accuracy_percent"):
        assert float(row[entry]) == card[entry]
    assert float(row["seconds"]) == card["train_seconds"]
    assert row["hardware"] == card["hardware"]
    recipe = json.loads(row["recipe"])
    assert recipe == {key: card["recipe"][key] for key in recipe}
    if name == "teacher-A":
        taught_by = json.loads((folder / "taught-A-0.json").read_text())["teacher"]
        assert taught_by == card
    else:
        history = read_history(folder / f"{name}.csv")
        seconds = sum(epoch["seconds"] for epoch in history)
        assert len(history) == int(row["epochs"]) == card["epochs_trained"]
        assert round(seconds, 1) == card["train_seconds"]


@pytest.fixture
def came_back(tmp_path, monkeypatch):
    """A folder with what came back, and the results files, of one other run."""
    work, results = tmp_path / "work", tmp_path / "results"
    (work / "runs").mkdir(parents=True)
    results.mkdir()
    monkeypatch.setattr(runtime, "RESULTS", results)
    (work / "runs" / "a.json").write_text('{"data": "full"}')
    for name in ("a.csv", "a.safetensors"):
        (work / "runs" / name).write_text(name)
    for name in ("plan.json", "teacher.json"):
        (work / name).write_text("{}")
    row = {"form": asdict(Form()), "words": "plain", "design": "A", "command": "c"}
    row |= {"batch_size": 128, "hardware": "a GPU"}
    rows = [row | {"images_per_second": 5.0}, row | {"error": "it fell"}]
    (work / "measured.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for name in ("times.csv", "runs.csv"):
        (work / name).write_text("run,seed\na,0\n")
    (results / "champion.csv").write_text("run,seed\nb,0\n")
    return_results(work, tmp_path / "out")
    return work, tmp_path / "out", results


def test_results_that_came_back_are_kept_once(came_back):
    work, out, results = came_back
    gpu.main(["--keep", str(out)])
    return_results(work, out.with_name("more"))  # the same again, after a resumed run
    gpu.main(["--keep", str(out.with_name("more"))])
    assert (results / "champion.csv").read_text() == "run,seed\nb,0\na,0\n"
    assert (results / "gpu_times.csv").read_text() == "run,seed\na,0\n"
    (speed,) = read_rows(results / "gpu_speed.csv")
    assert (speed["images_per_second"], speed["command"]) == ("5.0", "c")
    names = {path.name for path in (results / "gpu").iterdir()}
    assert names == {"a.json", "a.csv"}
    assert (results / "gpu" / "a.csv").read_text() == "a.csv"


def test_a_speed_measured_again_takes_the_place_of_the_old_one(came_back):
    work, out, results = came_back
    gpu.main(["--keep", str(out)])
    path = work / "measured.jsonl"
    old = path.read_text()
    for changed in (('"a GPU"', '"another GPU"'), ("5.0", "7.0")):
        path.write_text(old.replace(*changed))
        return_results(work, out)
        gpu.main(["--keep", str(out)])
    kept = read_rows(results / "gpu_speed.csv")
    speeds = [(row["hardware"], row["images_per_second"]) for row in kept]
    assert speeds == [("a GPU", "7.0"), ("another GPU", "5.0")]
    path.write_text(old.replace("a GPU", "AMD EPYC, 2 threads"))
    return_results(work, out)
    with pytest.raises(ValueError, match="rehearsal on a CPU"):
        gpu.main(["--keep", str(out)])


@pytest.mark.parametrize(
    "card, message",
    [
        ('{"data": "sample"}', "rehearsal"),
        ('{"data": "full", "training_images": 64}', "rehearsal"),
        ('{"data":"full"}', "name"),
    ],
)
def test_what_is_no_result_or_another_is_not_kept(came_back, card, message):
    work, out, results = came_back
    gpu.main(["--keep", str(out)])
    before = (results / "champion.csv").read_text()
    (work / "runs" / "a.json").write_text(card)
    (work / "runs.csv").write_text("run,seed\nc,0\n")
    return_results(work, out)
    with pytest.raises(ValueError, match=message):
        gpu.main(["--keep", str(out)])
    assert (results / "champion.csv").read_text() == before
    assert (results / "gpu" / "a.json").read_text() == '{"data": "full"}'


def test_teacher_and_taught_wait_for_the_champion_and_for_time(wanted, tmp_path):
    program = gpu_pieces.Program(wanted | {"until": time.time() + 100})
    assert not program.fits_still("teacher", 2.5)
    (tmp_path / "work" / "runs").mkdir()
    card = tmp_path / "work" / "runs" / "champion-A-0.json"
    for seconds, fits in ((30.0, True), (50.0, False)):
        card.write_text(json.dumps({"train_seconds": seconds}))
        assert program.fits_still("teacher", 2.5) == fits
    program.teach()
    log = (tmp_path / "work" / "log.txt").read_text()
    assert "the champion comes first" in log and "left of 125 s" in log
    assert not (tmp_path / "work" / "teacher.json").exists()


def test_kept_speeds_are_those_of_forms_that_the_program_has():
    rows = read_rows(runtime.RESULTS / "gpu_speed.csv")
    assert rows and all(tuple(row) == SPEED for row in rows)
    names = ("design", "form", "precision")  # of each GPU once
    designs = [forms_to_measure(torch.device("cuda"), design) for design in "AC"]
    known = {(d, str(f), f.precision) for some in designs for d, f, _ in some}
    assert {tuple(row[name] for name in names) for row in rows} <= known
    names += ("batch_size", "hardware")
    keys = [tuple(row[name] for name in names) for row in rows]
    assert len(set(keys)) == len(keys)
