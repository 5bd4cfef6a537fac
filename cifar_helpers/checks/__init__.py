"""Self-checks of the exercises, one module for each notebook, named like it.

A cell says `from cifar_helpers.checks import aspp as checks` and ends with
`checks.largest_rate(largest_rate)`, which shows a `Verdict`.
"""
