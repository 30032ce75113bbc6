"""A task as its users hold it, as far as it needs no server."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec import Raw

from mesh import Mesh
from mesh.client.job import Job
from mesh.client.task import Task
from mesh.errors import ArgumentsError, InvalidNameError, OptionError
from mesh.tasks.options import NO_OVERRIDES, CallOptions, CommonOptions


@pytest.fixture
def app() -> Mesh:
    """An app that is never connected."""
    return Mesh()


def add_to(app: Mesh) -> Task[..., int]:
    """A task of two numbers; its parameters are left to be checked at run time."""

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    return add


def test_calling_a_task_runs_its_function(app: Mesh) -> None:
    """Here and now, as if it were no task."""
    add = add_to(app)

    assert add(1, 2) == 3
    assert add.function(1, b=2) == 3


async def test_calling_an_async_task_gives_its_coroutine(app: Mesh) -> None:
    """To be awaited like any other."""

    @app.task()
    async def double(number: int) -> int:
        return 2 * number

    assert await double(4) == 8


def test_a_call_is_prepared_without_a_connection(app: Mesh) -> None:
    """Arguments are checked and encoded at once."""
    call = add_to(app).s(1, b=2)

    assert (call.task, call.args, call.kwargs) == ("add", b"[1]", b'{"b":2}')
    assert call.options is NO_OVERRIDES


def test_options_belong_to_the_next_call_only(app: Mesh) -> None:
    """The task itself stays as it is."""
    add = add_to(app)
    urgent = add.options(priority="high", delay=5)

    assert urgent.s(1, 2).options == CallOptions(priority="high", delay_s=5.0)
    assert add.s(1, 2).options is NO_OVERRIDES


async def test_wrong_arguments_are_refused_before_anything_is_sent(app: Mesh) -> None:
    """In every way to enqueue there is; no server is needed to find out."""
    add = add_to(app)
    refused = "argument 'b' is missing"

    with pytest.raises(ArgumentsError, match=refused):
        await add.enqueue(1)
    with pytest.raises(ArgumentsError, match=refused):
        await add.options(queue="mail").enqueue(1)
    with pytest.raises(ArgumentsError, match=refused):
        add.sync.enqueue(1)
    with pytest.raises(ArgumentsError, match=refused):
        add.options(queue="mail").sync.enqueue(1)


def test_wrong_options_are_refused_where_they_are_given(app: Mesh) -> None:
    """Not when the job is enqueued."""
    add = add_to(app)

    with pytest.raises(OptionError, match="'delay' is refused"):
        add.options(delay="soon")
    with pytest.raises(InvalidNameError, match="job id"):
        add.options(job_id="a b")
    with pytest.raises(OptionError, match="did you mean 'queue'"):
        app.task(**cast("CommonOptions", {"qeue": "mail"}))(lambda: None)


def test_what_a_person_sees() -> None:
    """Names and ids, and no arguments."""
    app = Mesh()
    add = add_to(app)

    assert repr(add) == "<Task add>"
    assert repr(add.definition) == "<TaskDefinition add pool=thread>"
    assert repr(app.job("job-1")) == "<Job job-1>"
    assert repr(app.sync.job("job-1")) == "<BlockingJob job-1>"
    assert app.sync.job("job-1").id == app.job("job-1").id == "job-1"


@pytest.mark.parametrize("definition", [True, False])
def test_a_result_is_read_by_the_annotation_if_it_is_known(app: Mesh, definition: bool) -> None:
    """A handle looked up by id gives plain JSON, one from ``enqueue`` the annotated type."""

    @app.task
    def names() -> set[str]:
        return {"a"}

    job: Job[Any] = Job("job-1", app.client, names.definition if definition else None)

    assert job._read(Raw(b'["a"]')) == ({"a"} if definition else ["a"])
