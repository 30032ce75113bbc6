"""How events and log lines look: a line for each, with colours on a terminal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
import msgspec

from mesh.cli.output import Output, as_json, has_colour
from mesh.client.happenings import LedgerEvent
from mesh.contract.events import LogLine

_COLOURS = {
    "job.completed": "green",
    "job.failed": "red",
    "job.dead": "red",
    "job.retrying": "yellow",
    "job.expired": "yellow",
    "job.cancelled": "yellow",
    "job.started": "cyan",
    "job.progress": "cyan",
}
_LEVELS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}
_LONGEST_NAME = 17


def show_event(output: Output, event: LedgerEvent) -> None:
    """Print an event as a line of words or of JSON."""
    if output.is_json:
        click.echo(as_json(msgspec.structs.asdict(event)))
    else:
        click.echo(line(event, is_coloured=has_colour(sys.stdout)))


def line(event: LedgerEvent, *, is_coloured: bool = False) -> str:
    """The event on one line: when, what, of whom, and what there is to say about it."""
    name = f"{event.name:{_LONGEST_NAME}}"
    if is_coloured:
        name = click.style(name, fg=_COLOURS.get(event.name, "blue"))
    words = [event.job_id or event.queue, event.task]
    if event.queue and event.job_id:
        words.append("/".join(filter(None, (event.queue, event.priority))))
    if event.attempt > 1:
        words.append(f"attempt {event.attempt}")
    if event.current is not None:
        words.append(f"{event.current:g}" + (f"/{event.total:g}" if event.total else ""))
    if event.due_at_ms:
        words.append(f"due {clock(event.due_at_ms, with_day=True)}")
    words += [f"{name}={text}" for name, text in event.details.items()]
    words.append(" ".join(event.message.split()))
    if event.actor:
        words.append(f"by {event.actor}")
    if event.lines:
        words.append(f"{len(event.lines)} lines")
    return "  ".join([clock(event.at_ms), name, *filter(None, words)]).rstrip()


def show_line(output: Output, entry: LogLine) -> None:
    """Print a line of a job's log, as it was logged or as JSON."""
    if output.is_json:
        click.echo(as_json(msgspec.structs.asdict(entry)))
        return
    level = f"{entry.level:8}"
    if has_colour(sys.stdout) and entry.level in _LEVELS:
        level = click.style(level, fg=_LEVELS[entry.level])
    logger = f"{entry.logger}: " if entry.logger else ""
    click.echo(f"{clock(entry.at_ms)} {level} {logger}{entry.text}")


def clock(at_ms: int, *, with_day: bool = False) -> str:
    """The time of day in UTC, to the millisecond; with the day where it may be another one."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    if with_day:
        return at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}"
