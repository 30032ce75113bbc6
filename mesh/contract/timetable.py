"""When a schedule is due: a cron expression, an interval or moments, in a time zone."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mesh.contract.envelope import Millis, Seconds

DstGap = Literal["shift", "skip"]
"""What becomes of a tick whose wall-clock time does not exist."""

DstOverlap = Literal["first", "second", "both"]
"""What becomes of a tick whose wall-clock time exists twice."""

CronText = Annotated[str, Meta(max_length=1000)]
ZoneName = Annotated[str, Meta(min_length=1, max_length=100)]


class Timetable(Struct, frozen=True, omit_defaults=True):
    """When a schedule is due; exactly one of ``cron``, ``every_s`` and ``at_ms`` is given.

    Attributes:
        cron: Five fields (minute, hour, day of the month, month, day of the week), six with
            the seconds in front, or an alias such as ``@daily``; by the wall clock of the zone.
        every_s: An interval, counted from ``start_ms``, or from the epoch without one.
        at_ms: Single moments, as milliseconds since the epoch.
        zone: The IANA name of the time zone of ``cron``.
        start_ms: No tick is before this moment; 0: there is no such moment.
        end_ms: No tick is after this moment; 0: there is no such moment.
        jitter_s: Each tick is late by a part of this that depends on schedule and tick alone.
        dst_gap: A time of day that the clock leaps over: ``shift`` to the first moment behind
            the leap, or ``skip`` it.
        dst_overlap: A time of day that the clock shows twice: the ``first``, the ``second`` or
            ``both``. A cron expression whose hours are all hours keeps its pace through leaps
            and overlaps, whatever these two say.
    """

    cron: CronText = ""
    every_s: Seconds = 0.0
    at_ms: tuple[Millis, ...] = ()
    zone: ZoneName = "UTC"
    start_ms: Millis = 0
    end_ms: Millis = 0
    jitter_s: Seconds = 0.0
    dst_gap: DstGap = "shift"
    dst_overlap: DstOverlap = "first"
