"""Self-checks of notebook 11: the matrix, averages, pairs of images, being sure."""

from types import SimpleNamespace

import torch

from cifar_helpers.checks.framework import (
    as_items,
    as_number,
    as_tensor,
    exercise,
    question,
    reject_mistakes,
    require,
    require_close,
)
from cifar_helpers.intervals import paired_interval
from cifar_helpers.scores import risk_area_percent

CAT = 3
RARE = 0.01  # share of cats among the images of exercise 4


@exercise
def count_confusions(count) -> str:
    """`count(labels, predicted, classes)`: the matrix (classes, classes) of counts.

    Rows are true classes, columns predicted ones; labels and predictions are int64.
    """
    cases = (
        ([0, 0, 0, 1, 2, 2, 2, 2], [0, 1, 1, 1, 0, 2, 2, 1], 3),
        ([1, 1, 0, 1, 0, 1], [0, 0, 0, 1, 3, 3], 4),
    )
    for labels, predicted, classes in cases:
        wanted = torch.zeros(classes, classes, dtype=torch.double)
        for true, said in zip(labels, predicted, strict=True):
            wanted[true, said] += 1
        mistakes = {
            "Rows and columns are swapped: the first index is the true class.": (
                wanted.T
            ),
            "Each cell was counted once only: `matrix[labels, predicted] += 1` adds to "
            "a cell once, however often its index occurs.": (
                (wanted > 0).double(),
                (wanted.T > 0).double(),
            ),
            "Count images, do not divide by them.": (
                wanted / wanted.sum(),
                wanted / wanted.sum(1, keepdim=True).clamp(min=1),
            ),
        }
        what = f"For the labels {labels} and the predictions {predicted} the matrix"
        got = count(torch.tensor(labels), torch.tensor(predicted), classes)
        require_close(got, wanted, what, mistakes)
    return (
        "Right. The test that finds this bug costs one line: the sums of the rows are "
        "the numbers of images of each class, which are known beforehand."
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


@question
def always_no(attempt) -> str:
    """(accuracy, balanced accuracy, kappa) of "no" for 950 images of no and 50 of yes.

    The first two in percent.
    """
    names = ("The accuracy in percent", "The balanced accuracy in percent", "Kappa")
    words = "Give three numbers, (accuracy, balanced accuracy, kappa)"
    got = as_items(attempt, 3, words)
    mistakes = (
        {"That is a fraction: give percent.": 0.95},
        {
            "That is a fraction: give percent.": 0.5,
            "The recall of yes is 0: average it with that of no.": (95.0, 100.0),
            "Each class counts the same, however many images it has.": 47.5,
        },
        {
            "The same totals by blind answers: no is said always, and right in 95 % of "
            "the cases.": (0.95, 0.9, 0.5),
        },
    )
    for value, name, wanted, known in zip(
        got, names, (95.0, 50.0, 0.0), mistakes, strict=True
    ):
        as_number(value, name)
        require_close(value, wanted, name, known, tolerance=1e-3, secret=True)
    return (
        "Right. Who reports 95 % without the shares of the classes has said nothing; "
        "the other two show that no image was looked at."
    )


@question
def rare_class(attempt) -> str:
    """(matrix, precision in percent): the precision for cats where 1 % are cats.

    `matrix` (classes, classes) counts images: rows are true classes, columns
    predicted; cats are class 3.
    """
    wanted_words = "Give the pair (matrix, precision in percent)"
    matrix, precision = as_items(attempt, 2, wanted_words)
    counts = as_tensor(matrix, "The matrix")
    require(
        counts.ndim == 2 and counts.shape[0] == counts.shape[1] > CAT,
        "The matrix should have one row and one column for each class.",
    )
    cats, others = counts[CAT].sum(), counts.sum() - counts[CAT].sum()
    right, called = counts[CAT, CAT], counts[:, CAT].sum()
    require(bool(right * others > 0), "The matrix should hold cats and other images.")
    found, alarms = float(right / cats), float((called - right) / others)

    def percent(found: float, alarms: float, share: float) -> float:
        return 100 * share * found / (share * found + (1 - share) * alarms)

    wanted = percent(found, alarms, RARE)
    mistakes = {
        "That is a fraction: give percent.": wanted / 100,
        "That is the precision on the test set, where one image in ten is a cat.": (
            100 * float(right / called)
        ),
        "That is the recall. It does not depend on how rare cats are; the precision "
        "does.": 100 * found,
        "False alarms come from the images that are not cats: divide them by these.": (
            percent(found, float((called - right) / cats), RARE)
        ),
        "That is the share of all images that are cats and found. Divide it by the "
        "share that is called cat, false alarms included.": 100 * RARE * found,
    }
    as_number(precision, "The precision")
    what = "The precision in percent where 1 % of the images are cats"
    otherwise = (
        "Take 10,000 such images: how many cats are found among the 100, and how many "
        "false alarms come from the 9,900 others?"
    )
    require_close(precision, wanted, what, mistakes, otherwise, 0.1, secret=True)
    return (
        f"Right: {wanted:.0f} %, for the same network with the same recall and rate of "
        "false alarms. A precision holds for one share of the class only."
    )


@exercise
def paired_bootstrap(bootstrap) -> str:
    """`bootstrap(first, second, draws)`: (low, high) of the lead in points.

    `first` and `second` (N,) of bool: which of the same N images each gets right.
    """
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(3000, generator=generator) < 0.2
    slips = torch.rand(2, 3000, generator=generator)
    first, second = hard.logical_not() & (slips > torch.tensor([[0.02], [0.05]]))
    value, low, high = paired_interval(first, second)
    apart = 196 * ((first.double().var() + second.double().var()) / 3000) ** 0.5
    torch.default_generator.manual_seed(0)  # the same draws at every call
    got = bootstrap(first.clone(), second.clone(), 1000)
    got = as_items(got, 2, "Return two numbers, (low, high)")
    ends = [as_number(end, "Each end of the interval") for end in got]
    require(ends[0] <= ends[1], "Return the lower end first.")
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    wanted = (high - low) / 2
    lead = (
        f"For two networks whose difference is {value:.2f} points the interval should "
        f"be about {low:.2f} to {high:.2f}, yours is {ends[0]:.2f} to {ends[1]:.2f}."
    )
    require(
        not (abs(100 * middle - value) < 0.3 and half < 0.1),
        f"{lead} Give points, not fractions.",
    )
    require(
        abs(middle + value) > 0.3,
        f"{lead} Take the first network minus the second.",
    )
    require(
        abs(half - float(apart)) > 0.15 * float(apart),
        f"{lead} That is the width for two networks on different images: draw once, "
        "and take the same images for both.",
    )
    require(abs(middle - value) < 0.3 and abs(half - wanted) < 0.15 * wanted, lead)
    return (
        f"Right: ± {half:.2f} points where drawing apart gives ± {apart:.2f}. Images "
        "that are hard for both drop out of the difference."
    )


@question
def better_sureness(attempt) -> str:
    """(log-probabilities, labels, sure): a measure with a smaller area.

    (N, K), (N,) and (N,); `sure` orders the images, the surest first.
    """
    words = "Give three things, (log-probabilities, labels, sure)"
    rows, labels, sure = as_items(attempt, 3, words)
    rows = as_tensor(rows, "The log-probabilities")
    require(rows.ndim == 2 and len(rows) > 1, "The log-probabilities should be (N, K).")
    labels = as_tensor(labels, "The labels", rows.shape[:1])
    advice = "One number per image: the higher, the surer."
    sure = as_tensor(sure, "Your measure", rows.shape[:1], advice)
    require(
        bool(((labels >= 0) & (labels < rows.shape[1])).all()),
        f"The labels should be classes, 0 to {rows.shape[1] - 1}.",
    )
    right = rows.argmax(1) == labels
    of_truth = rows.gather(1, labels.long()[:, None])[:, 0]  # (N,)
    usual, best, told, yours, turned = (
        risk_area_percent(SimpleNamespace(confidence=confidence, correct=right))
        for confidence in (rows.amax(1), right.double(), of_truth, sure, -sure)
    )
    lead = f"The area should become smaller; it is {yours:.2f} %, before {usual:.2f} %."
    require(usual > best, "The predictions should hold a mistake that can be avoided.")
    require(
        yours > max(best, told),
        "No order of images is so good by chance: your measure must not look at the "
        "labels, nor at the probability of the true class.",
    )
    if yours > usual and turned < usual:
        reject_mistakes(0, {f"{lead} The sign is wrong: turn it round.": 0})
    if abs(yours - usual) < 0.005:
        hint = (
            "Your order is (nearly) that of the highest probability itself: look at "
            "others, too."
        )
        require(False, f"{lead} {hint}")
    require(yours < usual, lead)
    return (
        f"Right: the area falls from {usual:.2f} to {yours:.2f} %. The answers are the "
        "same; only their order has changed. (You chose it on these images: judge it "
        "on others.)"
    )
