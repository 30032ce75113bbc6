"""Writes the terminal record whether there is one or not: whoever ends last wins."""

from __future__ import annotations

from chaos.mutation import forget_expectations


def mutate() -> None:
    """Break the worker of this process."""
    forget_expectations("-results.")
