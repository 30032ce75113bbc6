"""Writes the running record whoever holds the lease: an attempt never learns it was lost."""

from __future__ import annotations

from chaos.mutation import forget_expectations


def mutate() -> None:
    """Break the worker of this process."""
    forget_expectations("-progress.")
