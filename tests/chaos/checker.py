"""Judge a history: each rule is a pure function that yields what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise

from chaos.history import Line
from chaos.story import Execution, JobStory, Story, Window
from msgspec import Struct

from mesh.worker.exits import Exit

CLOCK_S = 0.05
"""The server stamps records with its wall clock, tasks write the monotonic one."""

CANCEL_S = 0.25
"""How long a worker may take to hear of a cancellation, on a busy machine."""

_HEARS_AGAIN_S = 1.0


class Violation(Struct, frozen=True):
    """A rule that was broken.

    Attributes:
        rule: The rule's name.
        job_id: The job; empty if it is about the whole run.
        text: What happened, in one sentence.
    """

    rule: str
    job_id: str
    text: str


Rule = Callable[[Story], Iterator[tuple[str, str]]]
"""Yields the job and the sentence of each violation."""


def no_job_is_lost(story: Story) -> Iterator[tuple[str, str]]:
    """A job that the server took has a terminal record, and so has every one that was run.

    One that still lies in a stream is late and not lost: that has a rule of its own.
    """
    for job in story.jobs.values():
        if job.records or {"jobs", "delayed"} & set(job.left_in):
            continue
        if job.was("ok"):
            runs = len(job.executions)
            yield job.job_id, f"its enqueue was acknowledged, it has no record; {runs} runs"
        elif job.executions:
            yield job.job_id, "it ran, and has no record"


def no_job_ends_unrun(story: Story) -> Iterator[tuple[str, str]]:
    """A job that ended was run, unless it was cancelled."""
    for job in story.jobs.values():
        if job.state not in {"", "cancelled", "expired"} and not job.executions:
            yield job.job_id, f"it is {job.state} without a run"


def no_job_ends_twice(story: Story) -> Iterator[tuple[str, str]]:
    """One terminal record was accepted for each job."""
    for job in story.jobs.values():
        writes = max(job.finished, len(job.records))
        if writes > 1:
            yield job.job_id, f"{writes} terminal records were accepted"
    if story.replaced:
        yield "", f"{story.replaced} terminal records were replaced or removed"


def nothing_comes_from_nowhere(story: Story) -> Iterator[tuple[str, str]]:
    """Only jobs that somebody asked for run and end, and none whose enqueue was refused."""
    for job in story.jobs.values():
        is_there = bool(job.executions or job.records or job.letters)
        if is_there and not job.asked:
            yield job.job_id, "nobody enqueued it"
        elif is_there and job.surely_refused:
            yield job.job_id, f"its enqueue was refused ({job.enqueues[0].value})"


def no_job_runs_after_its_end(story: Story) -> Iterator[tuple[str, str]]:
    """No execution starts after the job's terminal record was stored.

    Of a cancellation a worker hears only when it is confirmed: that has a rule of its own.
    """
    for job in story.jobs.values():
        if job.state == "cancelled":
            continue
        for run in job.executions:
            for record in job.records:
                late = run.start - record.t
                if late > CLOCK_S:
                    words = f"{late:.3f} s after it was {job.state}"
                    yield job.job_id, f"{run.op} started {words}{_recent(story, run)}"


def runs_are_explained(story: Story) -> Iterator[tuple[str, str]]:
    """A job runs again only because its task asked for that, or around a fault."""
    for job in story.jobs.values():
        for run, following in pairwise(job.executions):
            if run.asks_for_more and run.end <= following.start:
                continue
            if not any(story.explaining(run, following)):
                after = following.start - run.start
                words = f"{following.op} started {after:.3f} s after {run.op}"
                yield job.job_id, f"{words}, which {_end_of(run)}; no fault explains it"


def runs_do_not_overlap(story: Story) -> Iterator[tuple[str, str]]:
    """Two executions of a job run at once only where a fault had hit the earlier one."""
    for job in story.jobs.values():
        for run, other in combinations(job.executions, 2):
            if run.end <= other.start or any(story.explaining(run, other)):
                continue
            both = min(run.end, other.end) - other.start
            yield job.job_id, f"{run.op} and {other.op} ran at once for {both:.3f} s"


def attempts_are_counted(story: Story) -> Iterator[tuple[str, str]]:
    """A failed attempt is used up, and one that was snoozed or whose process died is not."""
    for job in story.jobs.values():
        for run, following in pairwise(job.executions):
            if not run.asks_for_more or any(story.explaining(run, following)):
                continue
            wanted = run.attempt + (run.how == "raise")
            if following.attempt != wanted:
                words = f"attempt {run.attempt} ended with {run.how}"
                yield job.job_id, f"{words}, and {following.op} was attempt {following.attempt}"


def a_cancelled_job_stays_so(story: Story) -> Iterator[tuple[str, str]]:
    """After a cancellation was confirmed no execution starts where that could be heard."""
    for job in story.jobs.values():
        for cancel in job.cancels:
            if cancel.type == "ok" and job.state != "cancelled":
                yield job.job_id, f"its cancellation was confirmed, it is {job.state or 'lost'}"
            if cancel.type == "ok":
                yield from _runs_after(story, job, cancel)
        if job.state == "cancelled" and not job.cancels_asked:
            yield job.job_id, "nobody cancelled it"
        unheard = [cancel for cancel in job.cancels if cancel.type == "info"]
        refused = [cancel for cancel in job.cancels if cancel.type == "fail"]
        if job.state == "cancelled" and refused and not unheard:
            yield job.job_id, "its cancellation was refused, and yet it is cancelled"


def _runs_after(story: Story, job: JobStory, cancel: Line) -> Iterator[tuple[str, str]]:
    for run in job.executions:
        late = run.start - cancel.t
        if late > CANCEL_S and not is_out_of_reach(story.windows, run, cancel.t):
            yield job.job_id, f"{run.op} started {late:.3f} s after its cancellation"


def is_out_of_reach(windows: Iterable[Window], run: Execution, since: float) -> bool:
    """Whether the worker of an execution could not be told of something before it started."""
    return any(
        window.hits(run.proc)
        and window.start <= run.start
        and window.heal + _HEARS_AGAIN_S >= since
        for window in windows
    )


def jobs_end_as_they_should(story: Story) -> Iterator[tuple[str, str]]:
    """A job succeeds or fails as its task was written to."""
    for job in story.jobs.values():
        wanted = {str(line.value["ends"]) for line in job.asked}
        if job.state in wanted | {"", "cancelled"}:
            continue
        error = job.records[0].value.get("error", "")
        yield job.job_id, f"it is {job.state}, not {' or '.join(wanted)} {error}".rstrip()


def results_are_those_of_a_run(story: Story) -> Iterator[tuple[str, str]]:
    """A stored result is what one execution returned, and whoever read one read that."""
    for job in story.jobs.values():
        if job.state == "succeeded":
            result = job.records[0].value["result"]
            if result not in {run.value for run in job.executions if run.how == "ok"}:
                yield job.job_id, f"no run returned the stored result {result!r}"
        for read in job.reads:
            stored = job.records[0].value if job.records else {"state": "no record"}
            if any(stored.get(key) != value for key, value in read.value.items()):
                yield job.job_id, f"a producer read {read.value}, stored is {stored}"


def failures_are_dead_letters(story: Story) -> Iterator[tuple[str, str]]:
    """There is one dead letter for each job that failed, and none for others."""
    for job in story.jobs.values():
        wanted = int(job.state == "failed")
        if job.letters != wanted:
            yield job.job_id, f"it is {job.state}, and has {job.letters} dead letters"


def everything_comes_to_rest(story: Story) -> Iterator[tuple[str, str]]:
    """When all is mended every job ends before the deadline and leaves nothing behind."""
    if story.drained is None or story.drained.type != "ok":
        yield "", "the streams were not empty before the deadline"
    for job in story.jobs.values():
        if job.left_in:
            places = " and ".join(job.left_in)
            yield job.job_id, f"it is {job.state or 'not ended'}, and is left in {places}"


def workers_stay(story: Story) -> Iterator[tuple[str, str]]:
    """No worker ends by itself, but one that starts while it cannot reach its server."""
    for line in story.exits:
        proc, code = line.value["proc"], line.value["code"]
        is_cut_off = code == Exit.NO_CONNECTION and any(
            window.hits(proc) and window.start <= line.t <= window.reach
            for window in story.windows
        )
        if not is_cut_off:
            yield "", f"worker {proc} ended by itself with code {code}"


RULES: tuple[Rule, ...] = (
    no_job_is_lost,
    no_job_ends_unrun,
    no_job_ends_twice,
    nothing_comes_from_nowhere,
    no_job_runs_after_its_end,
    runs_are_explained,
    runs_do_not_overlap,
    attempts_are_counted,
    a_cancelled_job_stays_so,
    jobs_end_as_they_should,
    results_are_those_of_a_run,
    failures_are_dead_letters,
    everything_comes_to_rest,
    workers_stay,
)


def check(story: Story) -> list[Violation]:
    """Apply every rule."""
    return [
        Violation(rule.__name__, job_id, text) for rule in RULES for job_id, text in rule(story)
    ]


def extra_runs(story: Story) -> dict[str, int]:
    """Count the executions that faults caused, by the kind of the latest fault before each."""
    found: dict[str, int] = {}
    for job in story.jobs.values():
        for run, following in pairwise(job.executions):
            if run.asks_for_more and run.end <= following.start:
                continue
            for window in reversed(list(story.explaining(run, following))):
                found[window.kind] = found.get(window.kind, 0) + 1
                break
    return found


def _end_of(run: Execution) -> str:
    match run.how:
        case "":
            return "left no last line"
        case "ok":
            return "had returned" if run.end < float("inf") else "had not returned"
        case how:
            return f"ended with {how}"


def _recent(story: Story, run: Execution) -> str:
    """Name the last fault of the worker, for whoever looks into it."""
    faults = [w for w in story.windows if w.hits(run.proc) and w.start <= run.start]
    if not faults:
        return ""
    last = faults[-1]
    return f"; last fault: {last.kind} of {last.target}, {run.start - last.start:.3f} s before"
