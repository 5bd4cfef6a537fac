"""Self-checks of notebook 15: gains and their errors, Muon's idea, paired answers."""

import torch

from cifar_helpers.checks.framework import (
    as_items,
    as_number,
    as_tensor,
    exercise,
    require,
    require_close,
)


@exercise
def gain_with_error(gain) -> str:
    """`gain(before, after)`: (difference of means, its standard error).

    Takes the accuracies of the runs, two tensors (runs,), not of the same length.
    """
    runs = (
        (torch.tensor([80.0, 82.0, 81.0]), torch.tensor([83.0, 84.5, 83.5])),
        (torch.tensor([70.0, 72.0]), torch.tensor([71.0, 75.0, 72.0, 71.5])),
    )
    for before, after in runs:
        result = gain(before.clone(), after.clone())
        difference, error = as_items(result, 2, "Return two numbers, (gain, error)")
        wanted = float(after.mean() - before.mean())
        sign = "The sign: a gain is the mean after minus the mean before."
        require_close(difference, wanted, "The gain", {sign: -wanted})

        def squares(correction=1, sides=(before, after)):
            return sum(v.var(correction=correction) / len(v) for v in sides)

        mistakes = {
            "This is its square; take the root.": squares(),
            "Few runs: divide by n − 1 inside the variance, as Tensor.var() does by "
            "itself.": squares(correction=0).sqrt(),
            "This is the spread of single runs. A mean of n runs spreads less: divide "
            "each variance by its n.": (before.var() + after.var()).sqrt(),
            "Errors do not add up; their squares do.": (
                before.std() / len(before) ** 0.5 + after.std() / len(after) ** 0.5
            ),
            "Do not throw the runs together: each side has its own mean.": (
                torch.cat([before, after]).std()
            ),
        }
        require_close(error, float(squares().sqrt()), "The error", mistakes)
    return (
        "Right. Squares of errors add up, their roots do not. With two or three runs "
        "the spread itself is known badly: read twice the error as the least to ask "
        "for, not as a proof."
    )


@exercise
def nearest_orthogonal(nearest) -> str:
    """`nearest(matrix)`: U V^T of the singular value decomposition U S V^T.

    Takes a wide or tall matrix and returns one of the same shape.
    """
    for shape in ((4, 4), (3, 6), (7, 2)):
        generator = torch.Generator().manual_seed(shape[0])
        matrix = torch.randn(shape, generator=generator)
        got = nearest(matrix.clone())
        got = as_tensor(got, "The matrix", shape, "Is full_matrices=False set?")
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        mistakes = {
            "This is the matrix itself; leave the singular values out.": matrix,
            "The whole was scaled; each direction has to be.": (
                matrix / matrix.norm(),
                matrix / s[0],
            ),
        }
        if v.shape[0] == v.shape[1]:
            hint = "torch gives V transposed already: no further .T."
            mistakes[hint] = u @ v.T
        values = torch.linalg.svdvals(got)
        otherwise = (
            f"Its singular values should all be 1; yours lie between "
            f"{values.min():.3g} and {values.max():.3g}."
        )
        require_close(got, u @ v, "The matrix", mistakes, otherwise)
    return (
        "Right, and slow: a decomposition at every step and for every layer. Muon's "
        "polynomial does nearly the same with a few matrix products."
    )


@exercise
def fixed_and_broken(compare) -> str:
    """`compare(before, after)`: (fixed, broken, z) of two networks' answers.

    Takes two tensors (N,) of True for right answers.
    """
    patterns = (("1100110010", "1011110111"), ("0101", "0110"), ("11100", "10000"))
    for texts in patterns:
        before, after = (torch.tensor([c == "1" for c in text]) for text in texts)
        result = compare(before.clone(), after.clone())
        got = as_items(result, 3, "Return three numbers, (fixed, broken, z)")
        fixed, broken = int((after & ~before).sum()), int((before & ~after).sum())
        counts = [as_number(value, "Each of fixed and broken") for value in got[:2]]
        require(
            fixed == broken or counts != [broken, fixed],
            "You swapped them. Fixed: wrong before and right after.",
        )
        require_close(got[0], fixed, "The number of fixed images")
        require_close(got[1], broken, "The number of broken images")
        count, difference = fixed + broken, fixed - broken
        mistakes = {
            "Divide by the root of fixed + broken.": difference / count,
            "Images on which both agree say nothing. Only fixed + broken "
            "count.": difference / len(before) ** 0.5,
        }
        require_close(got[2], difference / count**0.5, "z", mistakes)
    return (
        "Right. This is McNemar's test without its small correction. Two accuracies "
        "on the same images are compared by the images on which they differ."
    )
