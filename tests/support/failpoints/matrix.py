"""Play recipes with failpoints: which ones, how many at once, and what came of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
from support.failpoints.arming import CALLER
from support.failpoints.faults import Action, Failpoint, Phase, applicable
from support.failpoints.nursery import Nursery
from support.failpoints.recipes import RECIPES, Recipe, play
from support.failpoints.stage import Run, Stage

from mesh.server.process import EmbeddedServer

CHOICE = "FAILPOINTS"
"""The variable that chooses failpoints: ``ALL``, ``EACH``, or part of a name.

Without it each place has its turn with each action, whoever calls it: both before and after
where a kill changes what is stored, else at the more telling of the two moments.
"""

ALL = "all"
"""Each failpoint, with each of its callers, in every recipe."""

EACH = "each"
"""Each failpoint, with each of its callers, in one recipe."""

_TELLING = {
    Action.KILL: Phase.BEFORE,
    Action.RAISE: Phase.AFTER,  # It was done, and nobody knows.
    Action.HANG: Phase.AFTER,  # What was read or promised is old when it goes on.
    Action.DISCONNECT: Phase.BEFORE,
}

_AT_ONCE = 24
_TRIES = 3


class Reached(NamedTuple):
    """A point that a recipe reaches.

    Attributes:
        recipe: The recipe's name.
        point: The point.
        primitive: What is called there.
        changes: Whether that may change anything on the server.
        sites: Every site on the way to it.
    """

    recipe: str
    point: str
    primitive: str
    changes: bool
    sites: frozenset[str]


class Case(NamedTuple):
    """One run of the matrix.

    Attributes:
        recipes: What is played; the next one, if in the one before chance passed by the point.
        failpoint: What is armed, if anything.
    """

    recipes: list[Recipe]
    failpoint: Failpoint | None

    def __str__(self) -> str:
        """Name it so that it can be chosen again."""
        return f"{self.failpoint} in {self.recipes[0].name}"


class Theatre:
    """Plays many cases at once, each on a stage of its own, all on one server."""

    def __init__(self, url: str, nursery: Nursery, folder: Path) -> None:
        self._url = url
        self._nursery = nursery
        self._folder = folder
        self._numbers = itertools.count(1)

    async def play(self, cases: Iterable[Case]) -> list[str]:
        """Play all cases; say what went wrong, and in which."""
        waiting, faults = list(cases), list[str]()
        waiting.reverse()
        with self._nursery.attached():
            async with anyio.create_task_group() as group:
                for _ in range(min(_AT_ONCE, len(waiting))):
                    group.start_soon(self._work, waiting, faults)
        return sorted(faults)

    async def reached(self) -> list[Reached]:
        """Play every recipe without a fault, and say which points it reaches."""
        faults = await self.play(Case([recipe], None) for recipe in RECIPES.values())
        assert not faults, "\n".join(faults)
        return [found for recipe in RECIPES for found in self._read(recipe)]

    def _read(self, recipe: str) -> Iterator[Reached]:
        for line in self._notes(recipe).read_text().splitlines():
            primitive, changes, point, *sites = line.split("\t")
            yield Reached(recipe, point, primitive, bool(changes), frozenset(sites))

    def _notes(self, recipe: str) -> Path:
        return self._folder / f"{recipe}.reached"

    async def _work(self, waiting: list[Case], faults: list[str]) -> None:
        """Play case after case on one stage, until one leaves something behind there."""
        while waiting:
            stage = Stage(
                self._url, f"stage-{next(self._numbers)}", self._nursery, self._folder
            )
            try:
                await self._fill(stage, waiting, faults)
            finally:
                await stage.app.close()

    async def _fill(self, stage: Stage, waiting: list[Case], faults: list[str]) -> None:
        await stage.open()
        is_clean = True
        while waiting and is_clean:
            case = waiting.pop()
            found = await self._try(stage, case)
            faults += [f"{case}: {fault}" for fault in found]
            is_left = await stage.has_letters() or await stage.lacks_records()
            is_clean = not found and not is_left

    async def _try(self, stage: Stage, case: Case) -> list[str]:
        """Play one case; again if the failpoint was not reached, which chance may decide."""
        for recipe in [*case.recipes, *case.recipes][:_TRIES]:
            async with self._right_stage(stage, recipe) as right:
                run = self._run(right, recipe, case.failpoint)
                try:
                    found = await play(recipe, run)
                except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                    found = [str(fault) or type(fault).__name__ for fault in _single(error)]
            if found:
                return [f"{fault} (log: {run.log})" for fault in found]
            if run.has_fired:
                return []
        return ["the failpoint was never reached"]

    @asynccontextmanager
    async def _right_stage(self, stage: Stage, recipe: Recipe) -> AsyncGenerator[Stage]:
        """The stage that all share, or one with a server of its own."""
        if not recipe.has_own_server:
            yield stage
            return
        async with EmbeddedServer() as server:
            own = Stage(
                server.url, f"own-{next(self._numbers)}", self._nursery, self._folder, server
            )
            try:
                await own.open()
                yield own
            finally:
                await own.app.close()

    def _run(self, stage: Stage, recipe: Recipe, failpoint: Failpoint | None) -> Run:
        armed = [Failpoint.read(text) for text in recipe.companions]
        if failpoint is not None and failpoint not in armed:
            # Its own comes first only where it is the same point: a point acts once.
            armed = [own for own in armed if own.point != failpoint.point] + [failpoint]
        notes = None if failpoint is not None else self._notes(recipe.name)
        return Run(stage, f"run-{next(self._numbers)}", armed, notes=notes)


def _single(error: Exception) -> Iterator[Exception]:
    """The errors that a group was made of."""
    parts: tuple[Exception, ...] = getattr(error, "exceptions", ())
    for part in parts:
        yield from _single(part)
    if not parts:
        yield error


def cases(reached: Iterable[Reached], action: Action) -> Iterator[Case]:
    """All cases of one action, as chosen; what is not played in all is in the first recipe."""
    choice = os.environ.get(CHOICE, "")
    found: dict[tuple[str, str], list[Recipe]] = {}
    changing: set[str] = set()
    for recipe, point, primitive, changes, _ in reached:
        name = point if choice else point.partition(CALLER)[0]
        recipes = found.setdefault((name, primitive), [])
        if RECIPES[recipe] not in recipes:
            recipes.append(RECIPES[recipe])
        if changes:
            changing.add(name)
    for (name, primitive), recipes in found.items():
        for phase, what in applicable(primitive):
            failpoint = Failpoint(name, phase, what)
            is_telling = (
                phase is _TELLING[what]
                or (_TELLING[what], what) not in applicable(primitive)
                or (what is Action.KILL and name in changing)
            )
            is_chosen = choice in {ALL, EACH} or (
                choice in str(failpoint) if choice else is_telling
            )
            if what is action and is_chosen:
                yield from _cases(recipes, failpoint, in_all=choice == ALL)


def _cases(recipes: list[Recipe], failpoint: Failpoint, *, in_all: bool) -> Iterator[Case]:
    for recipe in recipes if in_all else recipes[:1]:
        yield Case([recipe, *(other for other in recipes if other is not recipe)], failpoint)
