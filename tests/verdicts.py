"""What the tests of the self-checks share."""


def empty(*arguments): ...


def wrong(verdict, *words):
    """The check says "wrong", and its hint has all these words."""
    assert verdict.status == "wrong", verdict
    for word in words:
        assert word in verdict.message, verdict
