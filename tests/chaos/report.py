"""Say in a few lines what a chaos run did and what the checker found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from chaos.checker import RULES, Violation, extra_runs
from chaos.story import Story

_SHOWN = 5


def render(story: Story, violations: Sequence[Violation]) -> str:
    """Write the summary of a run."""
    return "\n".join((*_facts(story), "", *_rules(violations), "", _verdict(violations)))


def _facts(story: Story) -> Iterable[str]:
    jobs = story.jobs.values()
    answers = Counter(line.type for job in jobs for line in job.enqueues)
    states = Counter(job.state or "no record" for job in jobs)
    faults = Counter(window.kind for window in story.windows)
    extra = extra_runs(story)
    runs = sum(len(job.executions) for job in jobs)
    yield _line("jobs", len(story.jobs), {"unknown enqueues": answers["info"]})
    yield _line("ended", sum(bool(job.records) for job in jobs), states)
    yield _line("runs", runs, {"extra, because of faults": sum(extra.values())})
    yield _line("faults", len(story.windows), faults)
    yield _line("extra runs", sum(extra.values()), extra)
    yield _line("at rest", *_rest(story))


def _rest(story: Story) -> tuple[str, Counter[str]]:
    left = Counter(place for job in story.jobs.values() for place in job.left_in)
    if story.drained is None or story.drained.type != "ok":
        return "never", left
    if not story.windows:
        return "yes", left
    healed = max(window.heal for window in story.windows)
    last = max((job.records[0].t for job in story.jobs.values() if job.records), default=healed)
    return f"last end {max(0.0, last - healed):.1f} s after the last fault was mended", left


def _line(name: str, total: object, parts: Mapping[str, int]) -> str:
    words = ", ".join(f"{word} {count}" for word, count in sorted(parts.items()) if count)
    return f"{name:12} {total}{f' ({words})' if words else ''}"


def _rules(violations: Sequence[Violation]) -> Iterable[str]:
    found = {rule: list(group) for rule, group in groupby(violations, lambda v: v.rule)}
    for rule in RULES:
        broken = found.get(rule.__name__, [])
        yield f"{len(broken):6}  {rule.__name__.replace('_', ' ')}"
        for violation in broken[:_SHOWN]:
            yield f"        {violation.job_id or 'run'}: {violation.text}"
        if len(broken) > _SHOWN:
            yield f"        and {len(broken) - _SHOWN} more"


def _verdict(violations: Sequence[Violation]) -> str:
    return f"{len(violations)} violations" if violations else "no violation"
