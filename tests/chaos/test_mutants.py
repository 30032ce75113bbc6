"""A checker that catches nothing proves nothing: mutants of mesh are caught, mesh is not."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from chaos.aims import AIMS
from chaos.checker import Violation, check
from chaos.history import read_history
from chaos.run import Plan, carry_out
from chaos.story import Story

pytestmark = [pytest.mark.chaos, pytest.mark.alone, pytest.mark.timeout(400)]

MUTANTS = Path(__file__).parent / "mutants"


async def violations_of(plan: Plan, folder: Path, found: dict[str, list[Violation]]) -> None:
    """Carry out a plan and check its history."""
    await carry_out(plan, folder)
    found[plan.mutant] = check(Story(read_history(folder)))


@pytest.mark.parametrize("name", AIMS)
async def test_mutants_are_caught_where_mesh_passes(name: str, tmp_path: Path) -> None:
    """The same short run breaks no rule with mesh, and a certain one with each mutant."""
    aim = AIMS[name]
    found: dict[str, list[Violation]] = {}

    async with anyio.create_task_group() as group:
        for mutant in ("", *aim.mutants):
            folder = tmp_path / (mutant or "mesh")
            group.start_soon(violations_of, aim.plan(mutant), folder, found)

    assert found[""] == [], f"the history is in {tmp_path / 'mesh'}"
    for mutant, rule in aim.mutants.items():
        broken = {violation.rule for violation in found[mutant]}
        assert rule in broken, f"{mutant} was not caught; it broke {broken}"


def test_every_mutant_is_aimed_at() -> None:
    """No mutant lies about without a run that should catch it."""
    aimed = {mutant for aim in AIMS.values() for mutant in aim.mutants}

    assert aimed == {path.stem for path in MUTANTS.glob("*.py")}
