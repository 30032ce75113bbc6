"""Whatever happens where mesh talks to the server, every job ends once and nothing is left.

CONTRIBUTING.md, "Failpoints", says how they are named and how to run one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from support.failpoints.faults import PRIMITIVES, Action
from support.failpoints.matrix import Reached, Theatre, cases
from support.failpoints.nursery import Nursery
from support.failpoints.sites import LOCAL, NOT_WALKED, ROOT, UNREACHED, every_site

from mesh.server.process import EmbeddedServer

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]


class Show(NamedTuple):
    """A theatre, and what every recipe reaches when nothing goes wrong."""

    theatre: Theatre
    reached: list[Reached]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """Every recipe, played once without a fault."""
    folder = tmp_path_factory.mktemp("failpoints")
    with EmbeddedServer() as server, Nursery(folder) as nursery:
        theatre = Theatre(server.url, nursery, folder)
        yield Show(theatre, asyncio.run(theatre.reached()))


def test_every_await_that_talks_to_the_server_is_a_failpoint(show: Show) -> None:
    """A new await is reached by a recipe, or it fails here: give it one, or say why not."""
    seen = {site for found in show.reached for site in found.sites}
    known = {site.name for sites in every_site().values() for site in sites}

    unseen = known - seen - UNREACHED.keys()

    assert not unseen, (
        f"no recipe in tests/support/failpoints/recipes.py reaches {sorted(unseen)}; add one, "
        "or say in tests/support/failpoints/sites.py that it talks to nobody"
    )
    assert UNREACHED.keys() <= known - seen, "a site that is said to be unreached is not"


@pytest.mark.parametrize("action", Action)
async def test_every_job_ends_once_whatever_happens(show: Show, action: Action) -> None:
    """A worker, producer or command is killed, fails, hangs or is cut off at each point."""
    faults = await show.theatre.play(cases(show.reached, action))

    assert not faults, "\n".join(faults)


def test_no_exception_outlives_what_it_is_for() -> None:
    """Every module that is left out exists, and every word of the rule is used in mesh."""
    source = "\n".join(path.read_text() for path in ROOT.rglob("*.py"))

    assert [name for name in NOT_WALKED if not (ROOT / name).exists()] == []
    ends = "(.:"  # It is called, it is a part of a name, or it is entered.
    assert [w for w in LOCAL if not any(f"{w}{end}" in source for end in ends)] == []
    assert [p for p in PRIMITIVES if not callable(getattr(p.owner, p.name, None))] == []
