"""Attempts at the exercises: one module for each module of `cifar_helpers.checks`.

Each has two tables that test_checks.py runs: RIGHT, rows of (check, attempt), and
WRONG, rows of (check, attempt, words that the hint must hold).
"""
