"""Names and ids: what the grammar lets through, and ids that never meet and sort by time."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import identifiers
from mesh.errors import InvalidNameError
from mesh.identifiers import (
    check_job_id,
    check_namespace,
    check_queue,
    check_task_name,
    new_job_id,
    new_worker_id,
)

Check = Callable[[str], str]

GRAMMARS: list[tuple[Check, str, int]] = [
    (check_namespace, "[a-z][a-z0-9_-]*", 32),
    (check_queue, "[A-Za-z0-9_-]+", 64),
    (check_job_id, "[A-Za-z0-9_=-]+", 128),
]
LONG = st.integers(30, 130).map("a".__mul__)
# Characters near the border of what a NATS token can be, and a few that only look harmless.
TRICKY = "aZ09_-=.*> \t\n\r\0$/äé\u0130\u0660\u200b\ud800"


@pytest.mark.parametrize(("check", "pattern", "longest"), GRAMMARS)
def test_a_name_passes_exactly_if_the_grammar_knows_it(
    check: Check, pattern: str, longest: int
) -> None:
    """What passes is a plain token of NATS; everything else is refused with a closed code."""

    @settings(deadline=None, max_examples=50)
    @given(st.from_regex(pattern, fullmatch=True) | st.text(TRICKY, max_size=8) | LONG)
    def passes_or_not(name: str) -> None:
        is_token = re.fullmatch(pattern, name, re.ASCII) is not None
        if is_token and len(name) <= longest:
            assert check(name) == name
            return

        with pytest.raises(InvalidNameError) as caught:
            check(name)

        reason = "too-long" if len(name) > longest else "bad-token" if name else "empty"
        assert (caught.value.name, caught.value.reason) == (name, reason)

    passes_or_not()


@settings(deadline=None, max_examples=50)
@given(st.text(TRICKY + "abc.:<>", max_size=8) | st.integers(190, 210).map("x".__mul__))
def test_a_task_name_is_printable_and_has_no_space(name: str) -> None:
    """It travels in a header, so nothing in it may break a line."""
    try:
        check_task_name(name)
    except InvalidNameError:
        assert not name or len(name) > 200 or not name.isprintable() or " " in name
    else:
        assert 0 < len(name) <= 200
        assert not re.search(r"[\s\0\u200b\ud800]", name)


@pytest.mark.parametrize("check", [check_namespace, check_queue, check_job_id, check_task_name])
@pytest.mark.parametrize("name", [None, 5, b"mail", ["mail"]])
def test_what_is_no_text_is_no_name(check: Callable[[Any], str], name: Any) -> None:
    """A program without type checks gets the same error, not a riddle."""
    with pytest.raises(InvalidNameError):
        check(name)


def test_a_refusal_says_the_rule() -> None:
    """The message names the kind of name, the name and what is allowed."""
    with pytest.raises(InvalidNameError, match=r"queue 'a b' is refused \(bad-token\): 1-64 c"):
        check_queue("a b")


def test_new_ids_are_job_ids_and_sort_by_the_time_of_making() -> None:
    """Ids made one after the other sort in that order."""
    ids = [new_job_id() for _ in range(2000)]

    assert all(len(check_job_id(job_id)) == 28 for job_id in ids)
    assert all(earlier < later for earlier, later in pairwise(ids))


def test_an_id_tells_when_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first eleven digits are the milliseconds since the epoch."""

    class Fixed:
        def now_ms(self) -> int:
            return 1_700_000_000_123

        def monotonic(self) -> float:
            return 0.0

    monkeypatch.setattr(identifiers, "SYSTEM_CLOCK", Fixed())

    assert int(new_job_id()[:11], 16) == 1_700_000_000_123


def test_threads_never_make_the_same_id() -> None:
    """Eight threads that start together make 16,000 different ids."""
    barrier = threading.Barrier(8)

    def make(_: int) -> list[str]:
        barrier.wait(timeout=10)
        return [new_job_id() for _ in range(2000)]

    with ThreadPoolExecutor(8) as pool:
        made = [job_id for ids in pool.map(make, range(8)) for job_id in ids]

    assert len(set(made)) == len(made) == 16_000


def test_a_forked_child_makes_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parent and child go on from the same moment and still never meet."""

    class Stopped:
        def now_ms(self) -> int:
            return 1

        def monotonic(self) -> float:
            return 0.0

    monkeypatch.setattr(identifiers, "SYSTEM_CLOCK", Stopped())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, " ".join(new_job_id() for _ in range(50)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)

    ours = [new_job_id() for _ in range(50)]

    assert len(theirs) == 50
    assert not set(theirs) & set(ours)


def test_a_worker_id_names_its_host_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the host is called, the id is one token and short."""
    monkeypatch.setattr("socket.gethostname", lambda: "büro.example.com" + "x" * 100)

    worker_id = new_worker_id()

    assert worker_id.startswith("b-ro-example-com")
    assert f"-{os.getpid()}-" in worker_id
    assert check_queue(worker_id)
    assert new_worker_id() != worker_id
