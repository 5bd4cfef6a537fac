import pytest
import torch


@pytest.fixture(autouse=True)
def same_draws_in_every_run():
    """Tests that draw without a generator draw the same each time."""
    torch.manual_seed(0)
