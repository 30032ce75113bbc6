"""What ``mesh fsck`` may find: a closed list of kinds, and the report that holds them."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct


class Kind(StrEnum):
    """What is wrong with a job, or with the place where jobs lie."""

    DRIFT = "drift"
    UNSERVED = "unserved"
    UNROUTABLE = "unroutable"
    LOST = "lost"
    STUCK = "stuck"
    STRANDED = "stranded"
    LEFTOVER = "leftover"
    DOUBLED = "doubled"
    STALE_PROGRESS = "stale-progress"
    UNBURIED = "unburied"
    UNRECORDED = "unrecorded"
    STRAY_ARGUMENTS = "stray-arguments"
    STRAY_RESULT = "stray-result"
    STRAY_KEY = "stray-key"


class Meaning(Struct, frozen=True):
    """What a kind of finding says.

    Attributes:
        what: What is wrong.
        repair: What ``--repair`` does about it; empty: nothing, it is reported only.
    """

    what: str
    repair: str = ""


MEANING: dict[Kind, Meaning] = {
    Kind.DRIFT: Meaning(
        "A stream, bucket or consumer is missing or is not as the settings say; `mesh setup` "
        "mends it."
    ),
    Kind.UNSERVED: Meaning(
        "A lane has no consumer, so no worker is ever given its jobs.",
        "creates the consumer, if the queue has other lanes; a queue that nobody ever served "
        "is only reported",
    ),
    Kind.UNROUTABLE: Meaning(
        "A message in the job stream has a subject that no lane covers; no worker is ever "
        "given it."
    ),
    Kind.LOST: Meaning(
        "A job was enqueued and has vanished: no message, no record, no dead letter.",
        "publishes it again if a copy of it is kept, else ends it as failed with JobLostError",
    ),
    Kind.STUCK: Meaning(
        "A job has a running record that nobody renews, and no message: it never runs again.",
        "publishes it again if a copy of it is kept, else ends it as failed with JobLostError",
    ),
    Kind.STRANDED: Meaning(
        "A message lies where its consumer has passed it by; it is never given out again.",
        "publishes it again and removes the old one",
    ),
    Kind.LEFTOVER: Meaning(
        "A job has ended, and a message of it still lies in its queue.",
        "removes the message and its stored arguments",
    ),
    Kind.DOUBLED: Meaning(
        "A job has more than one message.", "keeps the one that counts and removes the others"
    ),
    Kind.STALE_PROGRESS: Meaning(
        "A job has ended, and its running record is still there.", "removes the record"
    ),
    Kind.UNBURIED: Meaning(
        "A job failed for good, and there never was a dead letter of it.",
        "writes the dead letter of a job that was lost; any other is only reported",
    ),
    Kind.UNRECORDED: Meaning(
        "A job has a dead letter, and there never was a record of its end.",
        "writes the record from the dead letter",
    ),
    Kind.STRAY_ARGUMENTS: Meaning(
        "Stored arguments belong to no job and to no dead letter.", "removes them"
    ),
    Kind.STRAY_RESULT: Meaning("A stored result belongs to no record.", "removes it"),
    Kind.STRAY_KEY: Meaning(
        "A uniqueness key names a job that has ended or is not known.", "removes the key"
    ),
}
"""What each kind means."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Attributes:
        kind: What sort of thing.
        name: The job's id; else the name of what it is about: a lane, an object, a stream.
        detail: More about it, for people.
        places: The sequences and revisions it is about; while one changes, work goes on there.
        is_repaired: Whether it was put right.
    """

    kind: Kind
    name: str
    detail: str = ""
    places: tuple[int, ...] = ()
    is_repaired: bool = False

    @property
    def identity(self) -> tuple[Kind, str, tuple[int, ...]]:
        """What it has in common with the same finding of another look."""
        return self.kind, self.name, self.places

    def repaired(self) -> Finding:
        """The same, put right."""
        return msgspec.structs.replace(self, is_repaired=True)


class FsckReport(Struct, frozen=True, kw_only=True):
    """What was found in one namespace.

    Attributes:
        namespace: Which one.
        findings: Everything that was still so at the second look.
        looked_at: How many messages, records and names were looked at.
        looks: 1 if nothing was suspicious, else 2.
        is_partial: Whether there was more than one run can look into: run it again.
        has_ledger: Whether events are recorded; without them lost jobs cannot be found.
        took_s: How long it took, in seconds.
    """

    namespace: str
    findings: tuple[Finding, ...] = ()
    looked_at: int = 0
    looks: int = 1
    is_partial: bool = False
    has_ledger: bool = True
    took_s: float = 0.0

    @property
    def left(self) -> tuple[Finding, ...]:
        """The findings that were not put right."""
        return tuple(finding for finding in self.findings if not finding.is_repaired)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to put right, as far as was looked."""
        return not self.left and not self.is_partial
