"""Where a recipe is played: a namespace, and a worker that is started anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio
from support.failpoints import programs
from support.failpoints.arming import ARMED, FIRED, HANG_S, REACHED
from support.failpoints.faults import Action, Failpoint
from support.failpoints.nursery import TESTS, Nursery, Offspring
from support.waiting import until

from mesh import Mesh, State
from mesh.contract.subjects import kv_stream
from mesh.errors import JobEndedError
from mesh.server.process import EmbeddedServer

ACK_WAIT_S = 1.5
LIMIT_S = 40.0
_MOST_STARTS = 8
_TOLD_AGAIN_S = 10.0
_SETTINGS = {
    "MESH_WORKER_ACK_WAIT": f"{ACK_WAIT_S}s",
    "MESH_WORKER_HEARTBEAT": "0.3s",
    "MESH_WORKER_SHUTDOWN_GRACE": "0.3s",
    "MESH_WORKER_UNKNOWN_TASK_GRACE": "0.4s",
    "MESH_WORKER_PROCESS_POOL": "1",
    "MESH_WORKER_MAX_CRASHES": "6",
    "MESH_PUBLISH_DEADLINE": "2s",
    "MESH_LIMITS_PAYLOAD_INLINE_BYTES": "2000",
    "MESH_EVENTS_BODIES": "true",
    "MESH_TEST_LONGEST_NAK": "0.4",
    "PYTHONPATH": str(TESTS),
    HANG_S: str(2 * ACK_WAIT_S),
}


class Stage:
    """One namespace, in which runs follow each other.

    Args:
        url: Where the server is.
        namespace: The namespace.
        nursery: Forks workers and programs.
        folder: Where they leave what they did.
        server: The server, if it is this stage's own.

    Attributes:
        app: The test's own app.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        nursery: Nursery,
        folder: Path,
        server: EmbeddedServer | None = None,
    ) -> None:
        self.nursery = nursery
        self.folder = folder
        self.server = server
        storage: Literal["file", "memory"] = "memory" if server is None else "file"
        self.settings = _SETTINGS | {
            "MESH_URL": url,
            "MESH_NAMESPACE": namespace,
            "MESH_STORAGE": storage,
        }
        self.app = Mesh(
            url,
            namespace=namespace,
            storage=storage,
            events={"bodies": True},
            limits={"payload_inline_bytes": 2000},
            publish={"deadline_s": 10.0},
            worker={"ack_wait_s": ACK_WAIT_S, "heartbeat_s": 0.3},
        )

    async def open(self) -> None:
        """Set the namespace up."""
        await self.app.setup(["default"])

    async def has_letters(self) -> bool:
        """Whether dead letters are left; they would confuse the next run."""
        client = await self.app.client()
        return bool(await self.subjects(client.names.dead_stream, ">"))

    async def lacks_records(self) -> bool:
        """Whether a run deleted jobs; the next one could not tell that from a loss."""
        client = await self.app.client()
        stream = kv_stream(client.names.results_bucket)
        state = (await client.connection.api(f"STREAM.INFO.{stream}"))["state"]
        return bool(state["messages"] != state["last_seq"])

    async def subjects(self, stream: str, subject: str) -> dict[str, int]:
        """Count the messages of a stream by their subjects."""
        client = await self.app.client()
        answer = await client.connection.api(
            f"STREAM.INFO.{stream}", {"subjects_filter": subject}
        )
        return answer["state"].get("subjects") or {}


class Ending(NamedTuple):
    """How a job may end, and how often it may start at most."""

    states: frozenset[State]
    starts: int


class Run:
    """One play of a recipe, with at most one failpoint armed.

    Attributes:
        stage: Where it is played.
        prefix: What the ids of its jobs begin with.
        expected: How each of its jobs should end.
    """

    def __init__(
        self,
        stage: Stage,
        prefix: str,
        failpoints: list[Failpoint],
        *,
        notes: Path | None = None,
    ) -> None:
        self.stage = stage
        self.prefix = prefix
        self.expected: dict[str, Ending] = {}
        self._effects = stage.folder / f"{prefix}.effects"
        self._fired = stage.folder / f"{prefix}.fired"
        self._effects.touch()
        self.log = stage.folder / f"{prefix}.log"
        self._failpoints = failpoints
        self._plain = stage.settings | {"EFFECTS": str(self._effects), programs.PREFIX: prefix}
        self._armed = self._plain | {FIRED: str(self._fired)}
        if failpoints:
            self._armed[ARMED] = "\n".join(map(str, failpoints))
        if notes is not None:
            self._armed[REACHED] = str(notes)
        self._worker: Offspring | None = None
        self._is_leaving = False
        self.starts = 0

    @property
    def app(self) -> Mesh:
        """The test's own app."""
        return self.stage.app

    @property
    def has_fired(self) -> bool:
        """Whether every armed failpoint has acted."""
        return self._acted().issuperset(map(str, self._failpoints))

    @property
    def may_be_stale(self) -> set[str]:
        """The jobs whose running record may be left: cancelled as their worker was killed."""
        if all(failpoint.action is not Action.KILL for failpoint in self._failpoints):
            return set()
        return {one for one, end in self.expected.items() if State.CANCELLED in end.states}

    def _acted(self) -> set[str]:
        return set(self._fired.read_text().splitlines() if self._fired.exists() else ())

    def expect(self, job_id: str, *states: State, starts: int = 1) -> str:
        """Say how a job should end."""
        self.expected[job_id] = Ending(frozenset(states or {State.SUCCEEDED}), starts)
        return job_id

    async def send(
        self, task: str, *args: Any, state: State = State.SUCCEEDED, **more: Any
    ) -> Any:
        """Enqueue a job of this run; it should end in this state."""
        starts = more.pop("starts", 1)
        # Without an id of its own it goes the short way through the worker, as most jobs do.
        job = await self.app.send(task, args, **more)
        self.expect(job.id, state, starts=starts)
        return job

    async def publish(self, body: bytes, *, state: State) -> str:
        """Publish a job as a foreign producer would; it should end in this state."""
        job_id = self.expect(f"{self.prefix}-{len(self.expected) + 1}", state)
        client = await self.app.client()
        subject = client.names.job("default", "normal", job_id)
        await client.connection.link.request(subject, body, timeout=10)
        return job_id

    def starts_of(self, job_id: str) -> list[int]:
        """When a job has started, in milliseconds since the epoch."""
        lines = (line.split() for line in self._effects.read_text().splitlines())
        return [int(at) for who, what, at in lines if (who, what) == (job_id, "start")]

    def count(self, job_id: str) -> int:
        """How often a job has started."""
        return len(self.starts_of(job_id))

    async def started(self, job_id: str, times: int = 1) -> None:
        """Wait until a job has started so many times."""
        await until(lambda: self.count(job_id) >= times, f"{job_id} starts {times}x", LIMIT_S)

    @asynccontextmanager
    async def worker(
        self, *, armed: bool, is_burst: bool = False, environment: Mapping[str, str]
    ) -> AsyncGenerator[None]:
        """Keep a worker running: what dies is started anew, as its supervisor would do."""
        environment = {**(self._armed if armed else self._plain), **environment}
        if is_burst:
            environment[programs.BURST] = "1"
        self._is_leaving = False
        gone = anyio.Event()

        async def keep() -> None:
            while not self._is_leaving:
                self.starts += 1
                assert self.starts <= _MOST_STARTS, "the worker dies again and again"
                self._worker = await self._fork("worker", environment)
                code = await self._worker.end()
                if is_burst and code == 0:
                    break
            gone.set()

        async with anyio.create_task_group() as group:
            group.start_soon(keep)
            try:
                yield
                await self._leave(gone)
            finally:
                self._is_leaving = True
                if self._worker is not None:  # It stays after a fault only.
                    self._worker.send(signal.SIGKILL)

    async def program(self, act: str, *, armed: bool = True) -> None:
        """Run a program to its end; what is killed is started anew, once."""
        environment = (self._armed if armed else self._plain) | {programs.ACT: act}
        for _ in range(2):
            child = await self._fork("client", environment)
            async with asyncio.timeout(LIMIT_S):
                code = await child.end()
            if code == 0:
                return
            assert code == -signal.SIGKILL, f"the program ended with {code}"
        raise AssertionError("the program was killed twice")

    async def first_fired(self) -> None:
        """Wait until the first failpoint, the recipe's own, has acted."""
        first = str(self._failpoints[0])
        await until(lambda: first in self._acted(), f"{first} acts", LIMIT_S)

    async def ended(self) -> None:
        """Wait until every job that was sent has its terminal record."""
        async with asyncio.timeout(LIMIT_S):
            for job_id in self.expected:
                with contextlib.suppress(JobEndedError):
                    await self.app.job(job_id).result()

    async def settled(self) -> None:
        """Wait until no job is left in any stream."""
        names = (await self.app.client()).names
        progress = kv_stream(names.progress_bucket)
        places = (
            (names.jobs_stream, ">"),
            (names.delayed_stream, names.delayed("*")),  # The fired copies end by themselves.
            (progress, ">"),
        )
        for stream, subject in places:
            spared = self.may_be_stale if stream == progress else set[str]()

            async def is_empty(
                stream: str = stream, subject: str = subject, spared: set[str] = spared
            ) -> bool:
                left = await self.stage.subjects(stream, subject)
                return {name.rpartition(".")[2] for name in left} <= spared

            await until(is_empty, f"{stream} is empty", LIMIT_S, poll_s=0.1)

    def stop_worker(self) -> None:
        """Ask the worker that runs now to drain."""
        if self._worker is not None:
            self._worker.send(signal.SIGTERM)

    async def _leave(self, gone: anyio.Event) -> None:
        """End the worker, also one that is being started; killed, it does not come again."""
        self._is_leaving = True
        while not gone.is_set():
            self.stop_worker()
            with anyio.move_on_after(_TOLD_AGAIN_S):
                await gone.wait()

    async def _fork(self, program: str, environment: dict[str, str]) -> Offspring:
        task = f"support.failpoints.programs:{program}"
        return await self.stage.nursery.fork(task, self.log, environment)
