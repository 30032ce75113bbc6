"""Short runs, each aimed at some mutants of mesh: where those must show, and mesh must not."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.load import Order, plan_load
from chaos.run import Plan
from chaos.schedule import LEASE_S, Fault, FaultKind
from msgspec import Struct
from msgspec.structs import replace

_SEED = 1
_DRAIN_S = 90.0  # A busy machine takes half a minute to start two workers.
_MUTANT_DRAIN_S = 10.0


class Aim(Struct, frozen=True):
    """A short run and what it is aimed at.

    Attributes:
        mutants: The mutants it must show, each with the rule that it must break.
        mix: The tasks of its jobs.
        faults: What goes wrong.
        jobs: How many jobs there are.
        seconds: How long they are enqueued.
    """

    mutants: Mapping[str, str]
    mix: Mapping[str, float]
    faults: tuple[Fault, ...]
    jobs: int = 90
    seconds: float = 3.0

    def plan(self, mutant: str = "") -> Plan:
        """Plan the run with a mutant in the place of mesh, or with mesh itself."""
        orders = plan_load(_SEED, self.jobs, self.seconds, self.mix)
        # Some mutants never come to rest; none is caught by that alone.
        drain_s = _MUTANT_DRAIN_S if mutant else _DRAIN_S
        return Plan(tuple(map(_plain, orders)), self.faults, 2, drain_s, mutant)


def _plain(order: Order) -> Order:
    """Leave out what is no matter here: delays, repeats, cancellations."""
    return replace(
        order, delay_s=0.0, again_after_s=None, cancel_after_s=None, is_awaited=False
    )


AIMS: Mapping[str, Aim] = {
    "a worker is killed, another one stopped": Aim(
        {"ack_before_run": "no_job_is_lost", "hand_back_acked": "no_job_is_lost"},
        {"short": 2, "long": 1},
        (
            Fault(1.5, FaultKind.KILL_WORKER, "w0", 0.5),
            Fault(2.5, FaultKind.STOP_WORKER, "w1", 0.2),
        ),
    ),
    "a worker is cut off for longer than its lease": Aim(
        {"claim_unfenced": "runs_are_explained"},
        # No others: on a busy machine a short job takes long enough for a running record too.
        {"long_flaky": 1},
        # Not before one of them runs there.
        (Fault(0.8, FaultKind.CUT, "w0", 2.6, "$KV.chaos-progress."),),
        jobs=20,
        seconds=1.3,
    ),
    "workers are killed just before they store what is to come": Aim(
        {"ack_before_record": "no_job_is_lost", "retry_acked_first": "no_job_is_lost"},
        {"short": 3, "flaky_late": 1},
        (
            Fault(0.5, FaultKind.KILL_WORKER, "w0", 0.5, "$KV.chaos-results."),
            Fault(0.5, FaultKind.KILL_WORKER, "w1", 0.5, "chaos.delayed."),
        ),
        jobs=40,
        seconds=2.0,
    ),
    "a worker is frozen just before it stores a result": Aim(
        {"record_replaced": "no_job_ends_twice"},
        {"short": 1},
        # Until its pulls have expired the server may hand its jobs over to it again.
        (Fault(0.5, FaultKind.FREEZE_WORKER, "w0", 4.5 * LEASE_S, "$KV.chaos-results."),),
        jobs=40,
        seconds=2.0,
    ),
    "acknowledgements are lost": Aim(
        {
            "redelivery_unchecked": "no_job_runs_after_its_end",
            "attempts_uncounted": "attempts_are_counted",
        },
        {"instant": 6, "hopeless": 1},
        (Fault(1.0, FaultKind.LOSE_ACKS, "w0", 1.0),),
    ),
}
"""By what goes wrong."""
