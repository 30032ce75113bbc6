"""Put a failpoint into every primitive of this process; arm one, and note all that are reached.

A point is named after its call site: the innermost place outside ``mesh/transport`` from which
a primitive was reached, and, after ``>``, the places within the transport on the way to it;
after ``<`` stands who called that, for many a place is called by several. Armed without that,
a point acts whoever calls it.
Only the wrapped process pays for this; the product holds no hook.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import anyio
from support.failpoints.faults import (
    PRIMITIVES,
    Action,
    Failpoint,
    Phase,
    Primitive,
    cut,
    die,
    freeze,
)
from support.failpoints.sites import Site, site_of

ARMED = "MESH_TEST_FAILPOINT"
"""The variable that names the armed failpoints, one a line: ``<point> <phase> <action>``."""

REACHED = "MESH_TEST_FAILPOINTS_REACHED"
"""The variable that names the file in which reached points are noted."""

FIRED = "MESH_TEST_FAILPOINT_FIRED"
"""The variable that names the file with the failpoints that have acted: each does so once."""

HANG_S = "MESH_TEST_FAILPOINT_HANG"
"""The variable that says for how many seconds a failpoint hangs."""

CALLER = "<"
"""What stands between a point's place and who called it."""

_ON_ITS_WAY_S = 0.05
_wrappers: set[CodeType] = set()


class Armed:
    """The failpoints of this process, as its environment says."""

    def __init__(self) -> None:
        lines = os.environ.get(ARMED, "").splitlines()
        self._armed = {found.point: found for found in map(Failpoint.read, lines)}
        self._fired = Path(os.environ[FIRED]) if FIRED in os.environ else None
        self._reached = os.environ.get(REACHED)
        self._noted: set[str] = set()
        self._hang_s = float(os.environ.get(HANG_S, "3"))

    def install(self) -> None:
        """Wrap every primitive."""
        for primitive in PRIMITIVES:
            function = getattr(primitive.owner, primitive.name)
            make = _sending if primitive.sends else _waiting
            setattr(primitive.owner, primitive.name, make(self, primitive, function))

    def action_at(
        self, primitive: Primitive, frame: FrameType | None, args: tuple[Any, ...]
    ) -> Failpoint | None:
        """Note the point at which a primitive is called; return what is armed there, once."""
        path = _path(frame)
        if not path:
            return None
        point = _point(path)
        self._note(primitive, point, path, primitive.changes(args))
        name = point if point in self._armed else point.partition(CALLER)[0]
        armed = self._armed.pop(name, None)
        if armed is not None and self._fired is not None:
            if self._fired.exists() and str(armed) in self._fired.read_text().splitlines():
                return None
            with self._fired.open("a", encoding="utf-8") as file:
                file.write(f"{armed}\n")
        return armed

    def _note(self, primitive: Primitive, point: str, path: list[Site], changes: bool) -> None:
        what = f"{primitive.owner.__name__}.{primitive.name}"
        line = "\t".join((what, "changes"[: 7 * changes], point, *(s.name for s in path)))
        if self._reached is None or line in self._noted:
            return
        self._noted.add(line)
        with Path(self._reached).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    async def act(self, action: Action, primitive: Primitive, subject: Any) -> None:
        """Do it, where something is awaited."""
        if action is Action.KILL:
            die()
        if action is Action.HANG:
            await anyio.sleep(self._hang_s)
        if action is Action.DISCONNECT:
            cut(subject)
        if action is Action.RAISE and primitive.error is not None:
            raise primitive.error()

    def act_at_once(self, action: Action, subject: Any) -> None:
        """Do it, where nothing is awaited."""
        if action is Action.KILL:
            die()
        if action is Action.HANG:
            freeze(self._hang_s)
        if action is Action.DISCONNECT:
            cut(subject)


def _path(frame: FrameType | None) -> list[Site]:
    """The sites from a primitive outwards; none if another primitive called it."""
    return (
        []
        if any(f.f_code in _wrappers for f in _outwards(frame))
        else [site for f in _outwards(frame) if (site := site_of(f)) is not None]
    )


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _point(path: list[Site]) -> str:
    within = list(takewhile(lambda site: site.path.startswith("transport/"), path))
    outside = [site.name for site in path[len(within) : len(within) + 2]]
    way = [site.name.removeprefix("transport.") for site in reversed(within)]
    return CALLER.join((">".join((*outside[:1], *way)), *outside[1:]))


def _waiting(armed: Armed, primitive: Primitive, function: Any) -> Any:
    async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        hit = armed.action_at(primitive, sys._getframe().f_back, args)
        if hit is None:
            return await function(self, *args, **kwargs)
        if hit.phase is Phase.BEFORE:
            if hit.action is Action.RAISE and primitive.name == "publish_many":
                return [_no_receipt(primitive) for _ in range(args[1])]
            await armed.act(hit.action, primitive, self)
            return await function(self, *args, **kwargs)
        answer = await function(self, *args, **kwargs)
        if hit.action is Action.RAISE and primitive.name == "publish_many":
            return [_no_receipt(primitive) for _ in answer]
        if hit.action is Action.RAISE and primitive.name == "open":
            await self.close()  # As it does when it finds the server unfit.
        await armed.act(hit.action, primitive, self)
        return answer

    _wrappers.add(wrapper.__code__)
    return wrapper


def _sending(armed: Armed, primitive: Primitive, function: Any) -> Any:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        hit = armed.action_at(primitive, sys._getframe().f_back, args)
        if hit is None:
            return function(self, *args, **kwargs)
        if primitive.error is not None:
            post = partial(function, self, **kwargs)
            return _post_with_answer(armed, hit, post, self, args)
        if hit.phase is Phase.BEFORE:
            if hit.action is Action.RAISE:
                return _lose(self, partial(function, self, *args))
            armed.act_at_once(hit.action, self)
            return function(self, *args)
        answer = function(self, *args)
        asyncio.get_running_loop().call_later(
            _ON_ITS_WAY_S, armed.act_at_once, hit.action, self
        )
        return answer

    _wrappers.add(wrapper.__code__)
    return wrapper


def _post_with_answer(
    armed: Armed, hit: Failpoint, post: Any, subject: Any, args: tuple[Any, ...]
) -> None:
    to, block, payload, done, context = args
    fault = PRIMITIVES_BY_NAME["Publisher.post"].error
    if hit.phase is Phase.BEFORE:
        if hit.action is Action.RAISE and fault is not None:
            asyncio.get_running_loop().call_soon(done, context, fault(), b"")
            return
        armed.act_at_once(hit.action, subject)
        post(*args)
        return

    def answered(context: Any, error: Any, ack: bytes) -> None:
        if hit.action is Action.RAISE and fault is not None:
            done(context, fault(), b"")
            return
        armed.act_at_once(hit.action, subject)
        done(context, error, ack)

    post(to, block, payload, answered, context)


PRIMITIVES_BY_NAME = {f"{p.owner.__name__}.{p.name}": p for p in PRIMITIVES}


def _lose(link: Any, send: Any) -> Any:
    """Send what never arrives, as happens to the last bytes before a connection breaks."""
    kept = list(link._pending)
    size = link._pending_data_size
    answer = send()
    link._pending[:] = kept
    link._pending_data_size = size
    return answer


def _no_receipt(primitive: Primitive) -> Exception:
    assert primitive.error is not None
    return primitive.error()
