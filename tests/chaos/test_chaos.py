"""Jobs while things go wrong, on a small scale: none is lost, none runs amok."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.checker import check
from chaos.history import read_history
from chaos.report import render
from chaos.run import carry_out, make_plan
from chaos.story import Story

SEED = 5


# While the server is frozen nats-py leaves a socket open for each attempt to reconnect.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function StreamWriter.__del__")
@pytest.mark.chaos
@pytest.mark.alone
@pytest.mark.timeout(240)
async def test_no_job_is_lost_and_none_runs_amok(tmp_path: Path) -> None:
    """800 jobs and 4 faults break no rule; `make chaos` does more of the same."""
    plan = make_plan(SEED, jobs=800, faults=4, seconds=12.0, workers=2)
    folder = tmp_path / "history"

    await carry_out(plan, folder)

    story = Story(read_history(folder))
    violations = check(story)
    assert len(story.jobs) == 800
    assert len(story.windows) == 4
    assert violations == [], f"seed {SEED}\n{render(story, violations)}"
