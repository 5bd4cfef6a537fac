"""A small network and its answers, where a test needs any, not a good one."""

import torch
from torch import nn

from cifar_helpers.evaluation import Predictions


class TinyNet(nn.Module):
    """Stands in for the network: dropout and batch norm behave by mode."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(8, 10)

    def forward(self, images):
        features = self.norm(self.convolution(images)).relu()  # (N, 8, 8, 8)
        pooled = self.dropout(features.mean(dim=(2, 3)))  # (N, 8)
        return self.linear(4 * pooled).log_softmax(dim=1)  # (N, 10)


def half_right() -> Predictions:
    """300 predictions, about half of them right; no class is missing."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 10, (300,), generator=generator)
    logits = torch.randn(300, 10, generator=generator)
    logits[torch.arange(300), labels] += 1.5
    return Predictions((2 * logits).log_softmax(dim=1), labels)
