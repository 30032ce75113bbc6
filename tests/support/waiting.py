"""Wait for a condition in a test, with a deadline and a sentence; tests never sleep."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable

import anyio

from mesh.clock import SYSTEM_CLOCK

_POLL_S = 0.005


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    description: str,
    timeout_s: float = 30.0,
    *,
    poll_s: float = _POLL_S,
) -> None:
    """Return as soon as the condition holds; it may be sync or async.

    Args:
        condition: What is asked again and again.
        description: What is waited for, as a sentence such as ``the queue drains``.
        timeout_s: When to give up and fail the test.
        poll_s: How long to wait before it is asked again.
    """
    with anyio.move_on_after(timeout_s):
        while True:
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await anyio.sleep(poll_s)
    raise AssertionError(_gave_up(description, timeout_s))


def until_sync(
    condition: Callable[[], bool], description: str, timeout_s: float = 30.0
) -> None:
    """Return as soon as the condition holds; the twin of `until` for tests without a loop."""
    pause = threading.Event()
    deadline = SYSTEM_CLOCK.monotonic() + timeout_s
    while not condition():
        if SYSTEM_CLOCK.monotonic() > deadline:
            raise AssertionError(_gave_up(description, timeout_s))
        pause.wait(_POLL_S)


def _gave_up(description: str, timeout_s: float) -> str:
    return f"waited {timeout_s:g} s in vain until {description}"
