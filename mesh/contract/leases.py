"""What is stored about who may act: the leader of a service, the job whose turn it is."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from mesh.contract.envelope import Version
from mesh.contract.records import JobId, Moment, Number


class Leadership(Struct, frozen=True, omit_defaults=True):
    """Who leads a service, of which any number may run and one acts.

    The leader writes it again and again, each time by compare and set on the revision that it
    wrote last. Whoever has seen one revision for ``lease_ms``, by its own clock, may take over
    in the same way: no two clocks are compared.

    Attributes:
        owner: The leader; empty: nobody leads any more, and anybody may at once.
        lease_ms: For how long each revision counts, in milliseconds.
        renewals: How often this leader has renewed it, so that no two revisions are alike.
        since_ms: Since when it leads, in milliseconds since the epoch; for people.
        v: The version of this format.
    """

    owner: Annotated[str, Meta(max_length=200)]
    lease_ms: Annotated[int, Meta(ge=1, le=86_400_000)]
    renewals: Number = 0
    since_ms: Moment = 0
    v: Version = 1


class Turn(Struct, frozen=True, omit_defaults=True):
    """Which job of a schedule has its turn, where two may not run at once.

    Written when such a job is about to start, by compare and set on the revision that was
    seen; it says nothing any more once that job has ended.

    Attributes:
        job_id: The job.
        scheduled_for_ms: Its tick, in milliseconds since the epoch.
        v: The version of this format.
    """

    job_id: JobId
    scheduled_for_ms: Moment = 0
    v: Version = 1


read_leadership = msgspec.json.Decoder(Leadership).decode
read_turn = msgspec.json.Decoder(Turn).decode
