"""Self-checks of notebook 11: precision and recall, calibration, false alarms."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    as_items,
    as_tensor,
    as_whole_number,
    exercise,
    question,
    reject_mistakes,
    require,
    require_close,
)


@exercise
def precision_and_recall(measure) -> str:
    """`measure(counts)`: (precision, recall), each (classes,), in 0 … 1.

    `counts` is a tensor (classes, classes): rows are true classes, columns predicted.
    """
    matrices = (
        torch.tensor([[8, 1, 1], [2, 6, 2], [5, 0, 5]]),
        torch.tensor([[3, 1, 0, 0], [0, 4, 0, 4], [1, 1, 2, 0], [0, 2, 0, 9]]),
    )
    for matrix in matrices:
        counts = matrix.double()
        right = counts.diagonal()
        called, there = counts.sum(0), counts.sum(1)
        result = measure(matrix.clone())
        got = as_items(result, 2, "Return two tensors, (precision, recall)")
        for i, name in enumerate(("The precision", "The recall")):
            got[i] = as_tensor(got[i], name, right.shape, "One number per class.")
            hint = "You divided by all images: take those of one row or one column."
            reject_mistakes(got[i], {hint: right / counts.sum()}, f"{name}:")
            hint = (
                f"{name} is a share, between 0 and 1; yours reaches {got[i].max():.3g}."
            )
            require(bool(got[i].max() <= 1), hint)
        precision, recall = got
        swapped = torch.allclose(precision, right / there, atol=1e-6)
        require(
            not (swapped and torch.allclose(recall, right / called, atol=1e-6)),
            "You swapped them. A row holds all images of one true class: divide by "
            "its sum for the recall. A column holds all that was called so: precision.",
        )
        require_close(precision, right / called, "The precision")
        require_close(recall, right / there, "The recall")
    return (
        "Right. Both have the same numerator, the diagonal. The column asks whether "
        "you can trust the answer, the row whether the class is found."
    )


@exercise
def calibration_error(expected_error) -> str:
    """`expected_error(confidence, accuracy, count)`: the ECE in percent.

    Takes three tensors (bins,): mean confidence, accuracy, number of images.
    """
    cases = (
        ([0.55, 0.75, 0.95], [0.50, 0.80, 0.90], [100, 300, 600]),
        ([0.3, 0.9], [0.6, 0.9], [10, 990]),
        ([0.2, 0.5, 0.8], [0.1, 0.6, 0.8], [50, 50, 100]),
    )
    for rows in cases:
        confidence, accuracy, count = (torch.tensor(row).double() for row in rows)
        gap, share = accuracy - confidence, count / count.sum()
        wanted = 100 * float((share * gap.abs()).sum())
        balance = (share * gap).sum()
        mistakes = {
            "Gaps of opposite sign cancel: first take absolute values.": 100 * balance,
            "Gaps of opposite sign cancel: take the absolute value of each gap, not of "
            "the sum.": 100 * balance.abs(),
            "A bin counts by its images: use count / total.": 100 * gap.abs().mean(),
            "Divide by the number of images.": (
                (count * gap.abs()).sum(),
                100 * (count * gap.abs()).sum(),
            ),
            "That is a fraction: give percent.": wanted / 100,
            "Take the absolute gap, not its square.": 100 * (share * gap**2).sum(),
            "That is the largest gap: take the mean gap.": 100 * gap.abs().max(),
        }
        what = (
            f"For confidence {rows[0]}, accuracy {rows[1]} and {rows[2]} images the "
            "error in percent"
        )
        otherwise = "It is the mean gap, weighted by images."
        got = expected_error(confidence, accuracy, count)
        require_close(got, wanted, what, mistakes, otherwise)
    return (
        "Right. The second test has a bin that is off by 30 points and an error of "
        "only 0.3 %: ten images weigh little. Look at the diagram, not only at the "
        "number."
    )


@question
def most_false_alarms(attempt) -> str:
    """(matrix, class number): the class that others are most often taken for.

    `matrix` (classes, classes) counts images: rows are true classes, columns predicted.
    """
    matrix, index = as_items(attempt, 2, "Give the pair (matrix, class number)")
    counts = as_tensor(matrix, "The matrix")
    classes = len(counts) if counts.ndim else 0
    require(
        counts.shape == (classes, classes) and classes > 0,
        "The matrix should have one row and one column for each class.",
    )
    index = as_whole_number(index, f"The number of a class, 0 to {classes - 1},")
    require(
        0 <= index < classes,
        f"Give the number of a class, 0 to {classes - 1}, not {index}.",
    )
    called, mistaken = counts.sum(0), counts - counts.diag().diag()
    alarms, missed = mistaken.sum(0), mistaken.sum(1)
    if alarms[index] == alarms.max():
        return (
            f"Right: {int(alarms[index])} images of other classes were called so. The "
            "network reaches for this class when in doubt, which lowers its precision."
        )
    reason = f"{int(alarms[index])} false alarms are not the most."
    if missed[index] == missed.max():
        reason = "That class is missed most often: you summed rows. Sum the columns."
    elif called[index] == called.max():
        reason = "That class is called most often, rightly or not: leave out the "
        reason += "diagonal before you add."
    raise Wrong(f"Not class {index}. {reason}")
