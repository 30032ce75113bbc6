"""How ``mesh queue top`` makes rates of two looks."""

from __future__ import annotations

from mesh.cli.queue_top import rates
from mesh.client.queues import QueueStatus


def status(queue: str, pending: int, deliveries: int) -> QueueStatus:
    """A queue as it was seen."""
    return QueueStatus(queue=queue, pending={"normal": pending}, deliveries=deliveries)


def test_a_rate_is_what_happened_between_two_looks() -> None:
    """Deliveries and growth are divided by the time that has passed."""
    (found,) = rates([status("mail", 10, 100)], [status("mail", 4, 130)], 2.0)

    assert (found.pending, found.delivered_per_s, found.growth_per_s) == (4, 15.0, -3.0)


def test_the_fullest_queue_stands_first() -> None:
    """What needs a look is seen first, and a queue that is new has no rate yet."""
    found = rates([], [status("a", 1, 5), status("b", 9, 5)], 1.0)

    assert [(one.queue, one.delivered_per_s) for one in found] == [("b", 0.0), ("a", 0.0)]


def test_a_consumer_that_was_made_anew_has_no_negative_rate() -> None:
    """It counts its deliveries from nought."""
    (found,) = rates([status("mail", 0, 100)], [status("mail", 0, 3)], 1.0)

    assert found.delivered_per_s == 0.0
