"""A history put in order: what happened to each job, and which faults there were."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec
from chaos.history import Line
from chaos.schedule import LEASE_S, SERVER

MARGIN_S = 2.0
"""How long after a fault is mended, besides a lease, its consequences may show."""

SETTLE_S = 1.0
"""How long after its task returned an attempt may take until its outcome is stored."""

_AS_PLANNED = frozenset({"raise", "snooze", "crash"})


class Window(msgspec.Struct, frozen=True):
    """A fault that was done.

    Attributes:
        kind: Which one.
        target: Whom it hit: the server, the producers, a process or a place.
        start: When it struck.
        heal: When it was mended.
    """

    kind: str
    target: str
    start: float
    heal: float

    @property
    def reach(self) -> float:
        """Until when it may explain what is seen."""
        return self.heal + LEASE_S + MARGIN_S

    def hits(self, proc: str) -> bool:
        """Whether a process may suffer from it."""
        return self.target in {SERVER, proc, proc.partition(".")[0]}


class Execution(msgspec.Struct):
    """One run of a task's function.

    Attributes:
        op: Its name.
        proc: The worker that ran it.
        attempt: Which attempt it was, as the task saw it.
        start: When it started.
        end: When it ended, or at the latest when its process did.
        how: ``ok``, ``raise``, ``snooze``, ``crash``; the name of the error that cut it short;
            empty if it left no last line.
        value: What it returned, if it did.
    """

    op: str
    proc: str
    attempt: int
    start: float
    end: float = math.inf
    how: str = ""
    value: str = ""

    @property
    def asks_for_more(self) -> bool:
        """Whether its task ended so that the job runs again."""
        return self.how in _AS_PLANNED


class JobStory(msgspec.Struct):
    """What happened to one job.

    Attributes:
        job_id: Its id.
        asked: The beginnings of enqueues.
        enqueues: Their ends.
        cancels: The ends of cancellations; one that never ended is not there.
        cancels_asked: How many there were.
        executions: Every run of its task, in the order of starts.
        records: The terminal records found in the end; a key holds one.
        finished: How many finished events the server emitted.
        letters: How many dead letters there are.
        reads: Results that producers read.
        left_in: Where something of it is left in the end: ``jobs``, ``delayed``, ``progress``.
    """

    job_id: str
    asked: list[Line] = []
    enqueues: list[Line] = []
    cancels: list[Line] = []
    cancels_asked: int = 0
    executions: list[Execution] = []
    records: list[Line] = []
    finished: int = 0
    letters: int = 0
    reads: list[Line] = []
    left_in: list[str] = []

    @property
    def state(self) -> str:
        """How it ended, as its record says; empty if there is none."""
        return str(self.records[0].value["state"]) if self.records else ""

    def was(self, kind: str) -> bool:
        """Whether an enqueue had this answer: ``ok``, ``info`` or ``fail``."""
        return any(line.type == kind for line in self.enqueues)

    @property
    def surely_refused(self) -> bool:
        """Whether every enqueue was answered, and each time with a refusal."""
        answered = len(self.enqueues) == len(self.asked)
        return answered and all(line.type == "fail" for line in self.enqueues)


class Story:
    """A whole run.

    Attributes:
        jobs: Every job by its id.
        windows: Every fault, in the order in which they struck.
        exits: Workers that ended by themselves.
        replaced: How many terminal records were replaced or removed.
        drained: Whether the streams were empty before the deadline, and after how long.
    """

    def __init__(self, history: Iterable[Line]) -> None:
        self.jobs: dict[str, JobStory] = {}
        self.windows: list[Window] = []
        self.exits: list[Line] = []
        self.replaced = 0
        self.drained: Line | None = None
        self._deaths: dict[str, float] = {}
        self._running: dict[str, Execution] = {}
        self._struck: dict[str, Line] = {}
        for line in history:
            self._take(line)
        for line in self._struck.values():  # Never mended: the run was cut short.
            self._add_window(line, math.inf)
        self.windows.sort(key=lambda window: window.start)
        for execution in self._running.values():
            execution.end = self._deaths.get(execution.proc, math.inf)

    def explaining(self, run: Execution, following: Execution) -> Iterator[Window]:
        """Yield the faults that may be why a job runs again though this run was not cut short.

        Either one hit the worker of the earlier run, so that the job was given to another, or
        one has just let go of a worker that was given the job before all that.
        """
        end = min(run.end + SETTLE_S, following.start)
        for window in self.windows:
            hits_earlier = window.hits(run.proc) and window.start <= end
            lets_go = window.hits(following.proc) and window.start <= following.start
            if (hits_earlier and window.reach >= run.start) or (
                lets_go and window.heal + SETTLE_S >= following.start
            ):
                yield window

    def _take(self, line: Line) -> None:
        match line.f:
            case "fault":
                self._take_fault(line)
            case "exit":
                self._deaths[line.value["proc"]] = line.t
                if line.type == "fail":
                    self.exits.append(line)
            case "replaced":
                self.replaced = line.value
            case "drained":
                self.drained = line
            case _ if line.id:
                self._take_job(line)
            case _:
                pass

    def _take_fault(self, line: Line) -> None:
        if line.type == "invoke":
            self._struck[line.op] = line
        else:
            self._add_window(self._struck.pop(line.op), line.t)

    def _add_window(self, line: Line, heal: float) -> None:
        about = line.value
        self.windows.append(Window(about["kind"], about["target"], line.t, heal))

    def _take_job(self, line: Line) -> None:
        job = self.jobs.get(line.id)
        if job is None:
            job = self.jobs[line.id] = JobStory(line.id)
        match line.f:
            case "enqueue":
                (job.asked if line.type == "invoke" else job.enqueues).append(line)
            case "cancel" if line.type == "invoke":
                job.cancels_asked += 1
            case "cancel":
                job.cancels.append(line)
            case "run":
                self._take_run(job, line)
            case _:
                _take_final(job, line)

    def _take_run(self, job: JobStory, line: Line) -> None:
        if line.type == "invoke":
            execution = Execution(line.op, line.proc, line.attempt, line.t)
            job.executions.append(execution)
            self._running[line.op] = execution
            return
        execution = self._running.pop(line.op)
        execution.end = line.t
        execution.how = "ok" if line.type == "ok" else line.value
        execution.value = line.value if line.type == "ok" else ""


def _take_final(job: JobStory, line: Line) -> None:
    match line.f, line.type:
        case "record", _:
            job.records.append(line)
        case "finished", _:
            job.finished = line.value
        case "letter", _:
            job.letters += 1
        case "result", "ok":
            job.reads.append(line)
        case "left", _:
            job.left_in.append(line.value)
        case _:
            pass
