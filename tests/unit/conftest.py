"""What unit tests share: they are many and short, so what costs time is done once a file."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_process_left() -> Iterator[None]:
    """Fail a file that leaves a process behind; to look after each test would take longer."""
    parent = psutil.Process()
    before = set(parent.children(recursive=True))
    yield
    _, alive = psutil.wait_procs(set(parent.children(recursive=True)) - before, timeout=20)
    assert not alive, f"the file's tests left processes behind: {alive}"
