"""Acknowledges the jobs that a worker hands back when it is told to stop."""

from __future__ import annotations

from mesh.transport.puller import ACK
from mesh.worker import consumer, settlement


def mutate() -> None:
    """Break the worker of this process."""
    name = "NAK"
    for module in (consumer, settlement):
        setattr(module, name, ACK)
