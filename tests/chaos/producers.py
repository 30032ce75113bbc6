"""Enqueue, repeat, cancel and await jobs as planned; note what came of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import anyio
from chaos import app as tasks
from chaos.history import Journal, fingerprint
from chaos.load import FAILS, Order

from mesh import Mesh
from mesh.client.task import Task
from mesh.errors import (
    EnqueueUnknownError,
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    MeshError,
)

_AT_ONCE = 200
_BIG_BYTES = 40_000
_CANCEL_TRIES = 20


class Producers:
    """Several producers in one process, each with a connection of its own.

    Args:
        apps: Their connections.
        journal: Where what they do is noted.
        left: Says how many seconds are left until a time of the load.
        await_s: How long a result is waited for.

    Attributes:
        enqueued: How many orders were enqueued, with whatever answer.
    """

    def __init__(
        self,
        apps: Sequence[Mesh],
        journal: Journal,
        left: Callable[[float], float],
        await_s: float,
    ) -> None:
        self._await_s = await_s
        self._apps = itertools.cycle(apps)
        self._journal = journal
        self._left = left
        self._room = anyio.CapacityLimiter(_AT_ONCE)
        self._numbers = itertools.count()
        self.enqueued = 0

    async def run(self, orders: Sequence[Order]) -> None:
        """Carry out every order; returns when nothing is left to do."""
        async with anyio.create_task_group() as group:
            for order in orders:
                wait_s = self._left(order.at_s)
                if wait_s > 0:
                    await anyio.sleep(wait_s)
                await self._room.acquire_on_behalf_of(order.job_id)
                group.start_soon(self._carry_out, order, next(self._apps))

    async def _carry_out(self, order: Order, app: Mesh) -> None:
        try:
            await self._enqueue(order, app)
            self.enqueued += 1
        finally:
            self._room.release_on_behalf_of(order.job_id)
        async with anyio.create_task_group() as group:
            if order.again_after_s is not None:
                group.start_soon(self._enqueue, order, next(self._apps), order.again_after_s)
            if order.cancel_after_s is not None:
                group.start_soon(self._cancel, order, app, order.cancel_after_s)
            if order.is_awaited:
                group.start_soon(self._await, order, app)

    async def _enqueue(self, order: Order, app: Mesh, after_s: float = 0.0) -> None:
        await anyio.sleep(after_s)
        task: Task[..., str] = getattr(tasks, order.task)
        arguments: tuple[object, ...] = (order.number,)
        if order.task == "big":
            arguments += ("x" * _BIG_BYTES,)
        call = task.options(job_id=order.job_id, delay=order.delay_s).s(*arguments)
        ends = "failed" if order.task in FAILS else "succeeded"
        op = self._begin("enqueue", order, {"task": order.task, "ends": ends})
        try:
            await app.enqueue(call)
        except EnqueueUnknownError as error:
            self._journal.write("enqueue", "info", id=order.job_id, op=op, value=str(error))
        except MeshError as error:
            self._journal.write("enqueue", "fail", id=order.job_id, op=op, value=_words(error))
        else:
            self._journal.write("enqueue", "ok", id=order.job_id, op=op)

    async def _cancel(self, order: Order, app: Mesh, after_s: float) -> None:
        """Cancel a job; a caller who got no answer asks again, as callers do."""
        await anyio.sleep(after_s)
        op = self._begin("cancel", order)
        value = "nobody answered"
        for _ in range(_CANCEL_TRIES):
            try:
                is_cancelled = await app.job(order.job_id).cancel("chaos")
            except JobNotFoundError:
                self._journal.write("cancel", "info", id=order.job_id, op=op, value="not found")
                return
            except MeshError as error:
                value = _words(error)
                await anyio.sleep(0.25)
            else:
                kind = "ok" if is_cancelled else "fail"
                self._journal.write("cancel", kind, id=order.job_id, op=op)
                return
        self._journal.write("cancel", "info", id=order.job_id, op=op, value=value)

    async def _await(self, order: Order, app: Mesh) -> None:
        op = self._begin("result", order)
        try:
            result: str = await app.job(order.job_id).result(self._await_s)
            value = {"state": "succeeded", "result": fingerprint(result)}
        except JobFailedError:
            value = {"state": "failed"}
        except JobCancelledError:
            value = {"state": "cancelled"}
        except MeshError as error:
            self._journal.write("result", "info", id=order.job_id, op=op, value=_words(error))
            return
        self._journal.write("result", "ok", id=order.job_id, op=op, value=value)

    def _begin(self, f: str, order: Order, value: object = None) -> str:
        op = str(next(self._numbers))
        self._journal.write(f, "invoke", id=order.job_id, op=op, value=value)
        return op


def _words(error: MeshError) -> str:
    return f"{type(error).__name__}: {error}"
