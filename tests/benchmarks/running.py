"""How the benchmarks run a training: on one thread, and whole or not at all."""

import contextlib

import torch

from cifar_helpers.training import fit


def fit_whole(*arguments, **named):
    """`training.fit`, but a run that is stopped raises KeyboardInterrupt."""
    model, history = fit(*arguments, **named)
    if history.interrupted:
        raise KeyboardInterrupt
    return model, history


@contextlib.contextmanager
def one_thread():
    """Inside, torch computes on one thread; afterwards on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
