"""Self-checks of notebook 12: adaptive bins, claims, wrong labels, temperatures."""

import itertools

import numpy as np
import torch

from cifar_helpers.checks.framework import (
    Wrong,
    as_choice,
    as_items,
    as_number,
    as_tensor,
    exercise,
    question,
    require,
    require_close,
)

DIRECTIONS = ("rises", "falls", "stays")


@exercise
def adaptive_error(expected_error) -> str:
    """`expected_error(confidence, correct, bins)`: the ECE in percent, equal counts.

    Takes two float tensors (N,), the confidences not sorted, and how many bins.
    """
    draw = torch.Generator().manual_seed(0)
    for images, bins in ((60, 6), (100, 7), (25, 4)):
        confidence = torch.rand(images, generator=draw).double() ** 0.3
        confidence = confidence[torch.randperm(images, generator=draw)]
        correct = (torch.rand(images, generator=draw) < confidence).double()
        gaps = (correct - confidence).numpy()
        in_order = gaps[np.argsort(confidence.numpy())]
        cuts = _cuts(images, bins)  # where the larger parts lie is free
        rights = [_error_of(in_order, cut) for cut in cuts]
        wanted = rights[0]
        means = [part.mean() for part in np.split(in_order, cuts[0])]
        width = torch.bucketize(confidence, torch.linspace(0, 1, bins + 1)[1:-1])
        small, size = images // bins, -(-images // bins)  # rounded down and up
        equal = torch.bincount(width, correct - confidence, minlength=bins).abs().sum()
        mistakes = {
            "Those are bins of equal width: sort by confidence, then cut into parts of "
            "equal size.": 100 * float(equal) / images,
            "You cut before sorting: each bin should hold images of about the same "
            "confidence.": _error_of(gaps, cuts[0]),
            "Gaps of opposite sign cancel: take each bin's absolute gap.": (
                100 * float(gaps.mean()),
                100 * abs(float(gaps.mean())),
            ),
            "That is a fraction: give percent.": wanted / 100,
            "The sizes of the parts should differ by one at most: `chunk` and `split` "
            "leave one of another size at the end, `tensor_split` does not.": (
                _error_of(in_order, np.arange(size, images, size)),
                _error_of(in_order, np.arange(small, images, small)),  # a bin too many
                _error_of(in_order, np.arange(1, bins) * small),  # a large one
            ),
            "A bin counts by its images, and these parts are not all of one size.": (
                100 * float(np.abs(means).mean())
            ),
        }
        if images % bins == 0:  # then all parts are of one size
            mistakes.popitem()
        what = f"For {images} images in {bins} bins the error in percent"
        otherwise = "Sort, cut into `bins` parts, then weigh each gap by its images."
        got = expected_error(confidence.clone(), correct.clone(), bins)
        number = as_number(got, what)
        if not any(abs(number - right) < 1e-4 for right in rights):
            require_close(got, wanted, what, mistakes, otherwise)
    return (
        "Right. No bin is empty now, and none holds most of the images: where a "
        "network is nearly always sure, fine bins lie where the images are."
    )


def _cuts(images: int, bins: int) -> list:
    """Ends of `bins` parts that differ by at most one in size: the larger ones first,
    then in every other order.
    """
    size, larger = divmod(images, bins)
    found = []
    for chosen in itertools.combinations(range(bins), larger):
        sizes = [size + (part in chosen) for part in range(bins)]
        found.append(np.cumsum(sizes)[:-1])
    return found


def _error_of(gaps: np.ndarray, cut) -> float:
    """The calibration error in percent, from each image's gap and the parts' ends."""
    return float(100 * sum(abs(p.sum()) for p in np.split(gaps, cut)) / len(gaps))


def _is_true_or_false(thing) -> bool:
    """Of Python, NumPy or torch, alone or as an array without dimensions."""
    kind = str(getattr(thing, "dtype", type(thing).__name__)).removeprefix("torch.")
    return kind == "bool" and getattr(thing, "ndim", 0) == 0


def _as_numbers(answers):
    """True and False as 1 and 0, whatever holds them."""
    if isinstance(answers, torch.Tensor) and answers.dtype == torch.bool:
        return answers.double()
    if isinstance(answers, np.ndarray) and answers.dtype == bool:
        return answers.astype(float)
    if isinstance(answers, (list, tuple)):
        return [float(a) if _is_true_or_false(a) else a for a in answers]
    return answers


@exercise
def claims(confidence_and_correct) -> str:
    """`confidence_and_correct(log_probabilities, labels)`: two tensors (N,).

    What the network claims for its own answer, a fraction, and whether that is right.
    """
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(40, 10, generator=draw)
    labels = torch.randint(0, 10, (40,), generator=draw)
    logits[torch.arange(40), labels] += 1.0
    table = logits.log_softmax(1)
    got = confidence_and_correct(table.clone(), labels.clone())
    confidence, correct = as_items(got, 2, "Return two tensors, (confidence, correct)")
    confidence = as_tensor(confidence, "The confidence", (40,), "One number per image.")
    correct = as_tensor(
        _as_numbers(correct), "What is correct", (40,), "One answer per image."
    )
    own = table.exp().gather(1, labels[:, None])[:, 0].double()
    best = table.exp().amax(1).double()
    if torch.allclose(confidence, own, atol=1e-6):
        raise Wrong(
            "That is the probability of the true class. The network does not know the "
            "label: what does it claim about the answer that it gives?"
        )
    hint = "These are logarithms: take exp() before you call them probabilities."
    require(not torch.allclose(confidence, best.log(), atol=1e-6), hint)
    require_close(confidence, best, "The confidence")
    right = (table.argmax(1) == labels).double()
    hint = "A high confidence is not a right answer: compare with the label."
    require(not torch.equal(correct, (best > 0.5).double()), hint)
    require_close(correct, right, "What is correct")
    return (
        "Right. The label decides whether an answer is right, and nothing else; the "
        "confidence must be computed without it, as it will be where nobody knows it."
    )


@question
def accuracy_without_them(attempt) -> str:
    """(lowest, highest) in percent: 9,300 of 10,000 right, 54 of them left out."""
    low, high = as_items(attempt, 2, "Give two numbers, (lowest, highest)")
    low, high = (
        as_number(value, f"The {name}, in per cent")
        for value, name in ((low, "lowest"), (high, "highest"))
    )
    lowest, highest = 100 * (9300 - 54) / 9946, 100 * 9300 / 9946

    def near(value, wanted):
        return abs(value - wanted) < 0.006

    require(
        max(low, high) > 1.5,
        "These are fractions: give per cent, such as 93.0 for 0.93.",
    )
    require(
        not (near(low, highest) and near(high, lowest)),
        "You swapped them: give the lowest first.",
    )
    tenth = (9300 - 54) / 100, 9300 / 100
    hint = "54 images are left out: 9,946 remain, not 10,000."
    require(not (near(low, tenth[0]) or near(high, 93.54)), hint)
    hint = "Which of the two cases takes no right answer away?"
    require(near(high, highest), f"The highest is not {high:.2f} %. {hint}")
    hint = "And which takes the most right answers away, how many of the 54?"
    require(near(low, lowest), f"The lowest is not {low:.2f} %. {hint}")
    return (
        f"Right: {lowest:.2f} to {highest:.2f} %. That is a span of 0.54 points, where "
        "the interval of such an accuracy on 10,000 images reaches 0.5 to each side: "
        "two networks that differ by less could change places."
    )


@question
def temperature_by_severity(attempt) -> str:
    """(expected, temperatures): what you expected, and the fit at severities 0 to 5.

    `expected` is "rises", "falls" or "stays"; `temperatures` six numbers above 0.
    """
    expected, measured = as_items(attempt, 2, "Give the pair (expected, temperatures)")
    as_choice(expected, DIRECTIONS, "What you expect, the first of the pair,")
    advice = "One temperature for each severity, 0 to 5."
    measured = as_tensor(measured, "The temperatures", (6,), advice)
    require(bool((measured > 0).all()), "A temperature is above 0.")
    hint = "That is where the search ends: did you fit on the images' own labels?"
    require(bool((measured < 15).all() and (measured > 0.06).all()), hint)
    require(
        measured.unique().numel() > 1,
        "All six are equal: fit anew at each severity, on its own predictions.",
    )
    rise = float(measured[-1] / measured[0])
    require(
        rise > 1.05,
        f"Yours goes from {measured[0]:.2f} to {measured[-1]:.2f}. Noise makes this "
        "network err more than it notices, so the fit must soften its answers: is the "
        "first one that of severity 0, the images as they are?",
    )
    verdict = "as you expected" if expected == "rises" else f"you expected: {expected}"
    return (
        f"Right: it rises from {measured[0]:.2f} to {measured[-1]:.2f} ({verdict}). "
        "There is no temperature of a network, only one for a network on a kind of "
        "images."
    )
