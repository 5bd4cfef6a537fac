"""TODO."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    answer,
    exercise,
    require,
    require_close,
)


@exercise
def precision_and_recall(measure) -> str:
    """Check `measure(matrix)` -> (precision, recall), each (classes,), in 0 … 1."""
    matrices = (
        torch.tensor([[8, 1, 1], [2, 6, 2], [5, 0, 5]]),
        torch.tensor([[3, 1, 0, 0], [0, 4, 0, 4], [1, 1, 2, 0], [0, 2, 0, 9]]),
    )
    for matrix in matrices:
        got = answer(measure(matrix.clone()))
        require(
            isinstance(got, (tuple, list)) and len(got) == 2,
            "Return two tensors, (precision, recall).",
        )
        precision, recall = (
            torch.as_tensor(answer(value)).double().flatten() for value in got
        )
        counts = matrix.double()
        right = counts.diagonal()
        called, there = counts.sum(0), counts.sum(1)
        for name, values in (("precision", precision), ("recall", recall)):
            require(
                values.shape == right.shape,
                f"{name} should hold one number per class, {len(right)}, "
                f"not {tuple(values.shape)}.",
            )
            require(
                not torch.allclose(values, right / counts.sum()),
                f"{name}: you divided by all images. Divide by those of one row or "
                "one column.",
            )
            require(
                float(values.max()) <= 1,
                f"{name} is a share, between 0 and 1; yours reaches "
                f"{float(values.max()):.3g}.",
            )
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
    """Check `expected_error(confidence, accuracy, count)` -> the ECE in percent."""
    cases = (
        ([0.55, 0.75, 0.95], [0.50, 0.80, 0.90], [100, 300, 600]),
        ([0.3, 0.9], [0.6, 0.9], [10, 990]),
        ([0.2, 0.5, 0.8], [0.1, 0.6, 0.8], [50, 50, 100]),
    )
    for rows in cases:
        confidence, accuracy, count = (torch.tensor(row).double() for row in rows)
        got = float(answer(expected_error(confidence, accuracy, count)))
        gap, share = accuracy - confidence, count / count.sum()
        wanted = 100 * float((share * gap.abs()).sum())
        mistakes = (
            (100 * float((share * gap).sum()), "gaps of opposite sign cancel: take "
             "absolute values before you add."),
            (100 * abs(float((share * gap).sum())), "gaps of opposite sign cancel: "
             "take the absolute value of each gap, not of the sum."),
            (100 * float(gap.abs().mean()), "a bin counts by its images: weight each "
             "gap by count / total."),
            (float((count * gap.abs()).sum()), "divide by the number of images."),
            (100 * float((count * gap.abs()).sum()), "divide by the number of images."),
            (wanted / 100, "that is a fraction: give percent."),
            (100 * float((share * gap**2).sum()), "take the absolute gap, not its "
             "square."),
            (100 * float(gap.abs().max()), "that is the largest gap; the expected "
             "error is the mean gap."),
        )  # fmt: skip
        if abs(got - wanted) > 1e-4:
            hints = [hint for value, hint in mistakes if abs(got - value) < 1e-4]
            reason = hints[0] if hints else "It is the mean gap, weighted by images."
            raise Wrong(
                f"For confidence {rows[0]}, accuracy {rows[1]} and {rows[2]} images "
                f"the error should be {wanted:.3g} %, yours is {got:.4g}: {reason}"
            )
    return (
        "Right. The second test has a bin that is off by 30 points and an error of "
        "only 0.3 %: ten images weigh little. Look at the diagram, not only at the "
        "number."
    )


@exercise
def most_false_alarms(attempt) -> str:
    """Check `(matrix, index)`: the class that others are most often taken for."""
    matrix, index = attempt
    index = answer(index)
    counts = torch.as_tensor(matrix).clone()
    index = int(index)
    require(
        0 <= index < len(counts),
        f"Give the number of a class, 0 to {len(counts) - 1}, not {index}.",
    )
    called = counts.sum(0)
    counts.fill_diagonal_(0)
    alarms, missed = counts.sum(0), counts.sum(1)
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
