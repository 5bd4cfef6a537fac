"""A teacher for the champion: a wide network whose answers a small one learns.

Distillation after Hinton et al. 2015, section 2, with teacher and student looking at
the same crop of the same image (Beyer et al. 2022: "patient and consistent").
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cifar_helpers.model import count_multiply_adds, count_parameters
from cifar_helpers.trainer import soft_cross_entropy
from tests.benchmarks.gpu_files import TEACHER
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config

EPOCHS = 40
TEMPERATURE = 4.0  # divides both networks' logits: shows what else is likely
SHARE = 0.9  # of the loss: the teacher's; the rest is the labels'
CHANGES = {  # of the champion's recipe: the teacher's and its pupils'
    "label_smoothing": 0.0,  # a network that learned smoothed labels teaches worse
    "low_resolution_fraction": 0.0,  # nor does it know small images
}
CARD = "teacher.json"


def taught(
    kind: type,
    teacher: nn.Module,
    temperature: float = TEMPERATURE,
    share: float = SHARE,
) -> type:
    """A kind of Trainer that learns from a teacher's answers beside the labels."""

    class TaughtTrainer(kind):
        task = f"a teacher's answers at temperature {temperature}, share {share}"

        def augmented(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            """Inputs; the labels' and the teacher's probabilities, side by side."""
            inputs, targets = super().augmented(images, labels)
            with torch.no_grad(), self.autocast():
                answers = teacher(inputs).float()  # (N, 10)
            answers = (answers / temperature).softmax(dim=1)
            return inputs, torch.cat([targets, answers], dim=1)  # (N, 20)

        def losses(self, log_probabilities: Tensor, targets: Tensor) -> Tensor:
            """(1 - s) of the labels' cross-entropy, s T^2 of the teacher's at T."""
            labels, answers = targets.chunk(2, dim=1)
            softened = (log_probabilities / temperature).log_softmax(dim=1)
            own = soft_cross_entropy(log_probabilities, labels)
            learned = soft_cross_entropy(softened, answers)
            return (1 - share) * own + share * temperature**2 * learned

    return TaughtTrainer


def save_teacher(folder: Path, name: str, model: nn.Module, card: dict) -> dict:
    """Weights in half precision, as they are only read; the card, in runs/ as well."""
    card = {
        "name": name,
        "network": "ResNet-8",
        "config": asdict(model.config),
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        **card,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.cpu().state_dict().items()
    }
    save_file({name: v.contiguous() for name, v in half.items()}, folder / TEACHER)
    (folder / "runs").mkdir(exist_ok=True)
    for path in (folder / CARD, folder / "runs" / f"{name}.json"):
        path.write_text(json.dumps(card, indent=2) + "\n")
    return card


def load_teacher(folder: Path, device) -> nn.Module | None:
    """The teacher in evaluation mode, or None where there is none yet."""
    if not ((folder / CARD).exists() and (folder / TEACHER).exists()):
        return None
    card = json.loads((folder / CARD).read_text())
    model = ResNet8(ResNet8Config(**card["config"]))
    model.load_state_dict(load_file(folder / TEACHER))  # from half: copied into float32
    model = model.to(device, memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)
