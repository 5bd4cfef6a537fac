"""TODO."""

import torch

from cifar_helpers.checks.framework import answer, exercise, require, require_close


@exercise
def gain_with_error(gain) -> str:
    """Check `gain(before, after)` -> (difference of means, its standard error)."""
    runs = (
        (torch.tensor([80.0, 82.0, 81.0]), torch.tensor([83.0, 84.5, 83.5])),
        (torch.tensor([70.0, 72.0]), torch.tensor([71.0, 75.0, 72.0, 71.5])),
    )
    for before, after in runs:
        got = answer(gain(before.clone(), after.clone()))
        require(
            isinstance(got, (tuple, list)) and len(got) == 2,
            "Return two numbers, (gain, error).",
        )
        difference, error = (float(answer(value)) for value in got)
        wanted = float(after.mean() - before.mean())
        require(
            abs(difference + wanted) > 1e-4,
            "The sign: a gain is the mean after minus the mean before.",
        )
        require_close(difference, wanted, "The gain")
        hint = _why_error_fails(error, before, after)
        require(not hint, f"The error: {hint}")
    return (
        "Right. Squares of errors add up, their roots do not. With two or three runs "
        "the spread itself is known badly: read twice the error as the least to ask "
        "for, not as a proof."
    )


def _why_error_fails(error: float, before, after) -> str:
    """What was done instead of root(s1² / n1 + s2² / n2); empty if it is right."""

    def combined(correction, divide=True):
        parts = [v.var(correction=correction) for v in (before, after)]
        counts = (len(before), len(after)) if divide else (1, 1)
        return parts[0] / counts[0] + parts[1] / counts[1]

    roots = [v.std() / len(v) ** 0.5 for v in (before, after)]
    wanted = float(combined(1).sqrt())
    mistakes = (
        (combined(1), "this is its square; take the root."),
        (combined(0).sqrt(), "few runs: divide by n − 1 inside the variance, as "
         "Tensor.var() does by itself."),
        (combined(1, divide=False).sqrt(), "this is the spread of single runs. A mean "
         "of n runs spreads less: divide each variance by its n."),
        (sum(roots), "errors do not add up; their squares do."),
        (torch.cat([before, after]).std(), "do not throw the runs together: each side "
         "has its own mean."),
    )  # fmt: skip
    if abs(error - wanted) <= 1e-4:
        return ""
    for value, hint in mistakes:
        if abs(error - float(value)) <= 1e-4:
            return hint
    return f"it should be {wanted:.4g}, yours is {error:.4g}."


@exercise
def nearest_orthogonal(nearest) -> str:
    """Check `nearest(matrix)`: U V^T of the singular value decomposition U S V^T."""
    for shape in ((4, 4), (3, 6), (7, 2)):
        generator = torch.Generator().manual_seed(shape[0])
        matrix = torch.randn(shape, generator=generator)
        got = answer(nearest(matrix.clone()))
        require(
            isinstance(got, torch.Tensor) and got.shape == shape,
            f"A matrix of shape {shape} should give one of the same shape, not "
            f"{tuple(getattr(got, 'shape', ()))}. Is full_matrices=False set?",
        )
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        values = torch.linalg.svdvals(got.detach())
        mistakes = (
            (matrix, "This is the matrix itself; leave the singular values out."),
            (matrix / matrix.norm(), "The whole was scaled; each direction has to be."),
            (matrix / s[0], "The whole was scaled; each direction has to be."),
            (u @ v.T if v.shape[0] == v.shape[1] else None,
             "torch gives V transposed already: no further .T."),
        )  # fmt: skip
        for wrong, hint in mistakes:
            if wrong is not None and wrong.shape == got.shape:
                require(not torch.allclose(got, wrong, atol=1e-4), hint)
        require(
            float((values - 1).abs().max()) < 1e-3,
            f"Its singular values should all be 1; yours lie between {values.min():.3g}"
            f" and {values.max():.3g}.",
        )
        require_close(got.detach(), u @ v, "The matrix")
    return (
        "Right, and slow: a decomposition at every step and for every layer. Muon's "
        "polynomial does nearly the same with a few matrix products."
    )


@exercise
def fixed_and_broken(compare) -> str:
    """Check `compare(before, after)` -> (fixed, broken, z) of right (bool) answers."""
    patterns = (("1100110010", "1011110111"), ("0101", "0110"), ("11100", "10000"))
    for texts in patterns:
        before, after = (torch.tensor([c == "1" for c in text]) for text in texts)
        got = answer(compare(before.clone(), after.clone()))
        require(
            isinstance(got, (tuple, list)) and len(got) == 3,
            "Return three numbers, (fixed, broken, z).",
        )
        fixed, broken, z = (float(answer(value)) for value in got)
        wanted_fixed = int((after & ~before).sum())
        wanted_broken = int((before & ~after).sum())
        swapped = (fixed, broken) == (wanted_broken, wanted_fixed)
        require(
            not swapped or wanted_fixed == wanted_broken,
            "You swapped them. Fixed: wrong before and right after.",
        )
        require_close(fixed, wanted_fixed, "The number of fixed images")
        require_close(broken, wanted_broken, "The number of broken images")
        count, difference = wanted_fixed + wanted_broken, wanted_fixed - wanted_broken
        require(
            difference == 0 or abs(z - difference / count) > 1e-6,
            "z: divide by the root of fixed + broken.",
        )
        require(
            difference == 0 or abs(z - difference / len(before) ** 0.5) > 1e-6,
            "z: images on which both agree say nothing. Only fixed + broken count.",
        )
        require_close(z, difference / count**0.5, "z")
    return (
        "Right. This is McNemar's test without its small correction. Two accuracies "
        "on the same images are compared by the images on which they differ."
    )
