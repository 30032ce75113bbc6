"""A seed says all there is to say about a run: the faults, and what is enqueued."""

from __future__ import annotations

from collections import Counter

import pytest
from chaos.load import FAILS, MIX
from chaos.run import make_plan
from chaos.schedule import PRODUCERS, SERVER, FaultKind, plan_faults


def test_a_seed_repeats_its_schedule() -> None:
    """The same seed plans the same faults and jobs, and another one plans others."""
    plans = [make_plan(seed, jobs=300, faults=20, seconds=60) for seed in (7, 7, 8)]

    assert plans[0] == plans[1]
    assert plans[0].faults != plans[2].faults
    assert plans[0].orders != plans[2].orders


def test_more_jobs_do_not_change_the_faults() -> None:
    """The schedule of faults depends on nothing but its own arguments."""
    few, many = (make_plan(7, jobs=jobs, faults=20, seconds=60) for jobs in (10, 1000))

    assert few.faults == many.faults


@pytest.mark.parametrize("seed", range(20))
def test_twenty_faults_are_of_every_kind(seed: int) -> None:
    """Every kind of fault happens before one comes too often, at a place that can have it."""
    faults = plan_faults(seed, 20, 100.0, 3)

    kinds = Counter(fault.kind for fault in faults)
    assert set(kinds) == set(FaultKind)
    assert {fault.target for fault in faults} <= {SERVER, PRODUCERS, "w0", "w1", "w2"}
    assert all(0 < fault.at_s < 100 and fault.lasts_s >= 0 for fault in faults)


def test_every_kind_of_task_is_enqueued() -> None:
    """A large run has jobs of every task, delayed, repeated, cancelled and awaited ones."""
    orders = make_plan(1, jobs=20_000, faults=0, seconds=100).orders

    assert {order.task for order in orders} == set(MIX)
    assert set(MIX) >= FAILS
    assert any(order.delay_s for order in orders)
    assert any(order.again_after_s is not None for order in orders)
    assert any(order.cancel_after_s is not None for order in orders)
    assert any(order.is_awaited for order in orders)
