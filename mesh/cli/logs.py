"""How commands log: to stderr, coloured at a terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from mesh.cli.output import has_colour
from mesh.settings.model import Settings
from mesh.telemetry.logs import install, toggle_debug
from mesh.worker.running import job_fields


def set_up_logging(settings: Settings, *, is_json: bool = False) -> None:
    """Log to stderr from here on, unless the app has set up logging itself.

    Args:
        settings: The levels, the format, and what is secret.
        is_json: Write JSON lines whatever the settings say.
    """
    if is_json:
        os.environ["MESH_LOG_FORMAT"] = "json"  # For processes that we start.
    install(
        settings, is_json=is_json, is_coloured=has_colour(sys.stderr), job_fields=job_fields
    )


@contextmanager
def debug_on_signal() -> Generator[None]:
    """While entered, SIGUSR2 shows mesh's debug records, and the next one hides them again."""
    before = signal.signal(signal.SIGUSR2, _toggle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, before)


def _toggle(_number: int, _frame: FrameType | None) -> None:
    # Says nothing: the signal may have come in the middle of another record.
    toggle_debug()
