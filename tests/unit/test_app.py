"""The app before it is connected: it reads nothing early, and listens to the right source."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import mesh
from mesh import Mesh
from mesh.errors import InvalidNameError, SettingsError, TaskDefinitionError, UnknownTaskError


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESH_CONFIG", raising=False)
    monkeypatch.delenv("MESH_URL", raising=False)
    return tmp_path


async def test_nothing_is_read_or_connected_when_an_app_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module that defines tasks can be imported anywhere; faults show on first use."""
    monkeypatch.setenv("MESH_CONFIG", "no/such/file.toml")
    monkeypatch.setenv("MESH_REPLICAS", "two")
    before = threading.enumerate()

    app = Mesh(url="not an address", nonsense=5)

    @app.task
    async def send(to: str) -> None: ...

    send.options(queue="mail").s("ada")
    app.job("job-1")
    assert threading.enumerate() == before
    with pytest.raises(SettingsError) as caught:
        _ = app.settings
    assert len(caught.value.faults) >= 3
    with pytest.raises(SettingsError):
        await app.client()


def test_settings_are_read_once(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes later does not split an app in two halves."""
    monkeypatch.setenv("MESH_NAMESPACE", "shop")
    app = Mesh()

    first = app.settings
    monkeypatch.setenv("MESH_NAMESPACE", "office")
    (bare / "mesh.toml").write_text('namespace = "file"')

    assert first.namespace == "shop"
    assert app.settings is first


def test_the_command_line_beats_arguments_and_these_the_environment(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is asked only for what the stronger ones leave open."""
    (bare / "mesh.toml").write_text(
        'namespace = "file"\nlog_level = "error"\nreplicas = 5\n[worker]\nconcurrency = 2\n'
    )
    monkeypatch.setenv("MESH_NAMESPACE", "variable")
    monkeypatch.setenv("MESH_REPLICAS", "3")
    monkeypatch.setenv("MESH_WORKER_CONCURRENCY", "3")
    app = Mesh(namespace="argument", worker={"concurrency": 4})

    app.override({"worker.concurrency": "5"})

    settings = app.settings
    assert settings.worker.concurrency == 5
    assert settings.namespace == "argument"
    assert settings.replicas == 3
    assert settings.log_level == "error"


def test_an_override_comes_in_time_even_after_a_first_look() -> None:
    """Values given one after the other add up."""
    app = Mesh(namespace="shop")
    assert app.settings.worker.concurrency == 100

    app.override({"worker.concurrency": 7})
    app.override({"url": "nats://elsewhere:4222"})

    assert app.settings.worker.concurrency == 7
    assert app.settings.url == "nats://elsewhere:4222"
    assert app.settings.namespace == "shop"


def test_a_settings_file_can_be_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read instead of the one in the working directory."""
    (bare / "mesh.toml").write_text('namespace = "here"')
    (bare / "other.toml").write_text('namespace = "named"')
    monkeypatch.setenv("MESH_CONFIG", str(bare / "mesh.toml"))

    assert Mesh(config="other.toml").settings.namespace == "named"


def test_the_queues_of_an_app_are_those_of_its_tasks_and_the_default() -> None:
    """These are the ones that a worker serves and ``setup`` prepares."""
    app = Mesh(job_defaults={"queue": "bulk"})

    @app.task(queue="mail")
    async def send() -> None: ...

    @app.task(queue="mail", name="post")
    async def post() -> None: ...

    @app.task
    async def clean() -> None: ...

    assert app.queues() == ["bulk", "mail"]


def test_tasks_are_registered_with_and_without_parentheses() -> None:
    """Under their function's name or another, once."""
    app = Mesh()

    @app.task
    def plain() -> None: ...

    @app.task(name="other", timeout=5)
    def named() -> None: ...

    assert [task.name for task in app.tasks] == ["plain", "other"]
    assert app.tasks.get("other").options.timeout_s == 5
    assert (plain.name, named.name) == ("plain", "other")
    with pytest.raises(UnknownTaskError):
        app.tasks.get("named")
    with pytest.raises(TaskDefinitionError, match="'plain' is taken by"):
        app.task(name="plain")(lambda: None)


def test_a_job_is_looked_up_by_a_proper_id_only() -> None:
    """A slip is told at once, without asking a server."""
    app = Mesh()

    assert app.job("job-1").id == "job-1"
    for look_up in (app.job, app.sync.job):
        with pytest.raises(InvalidNameError, match="job id"):
            look_up("a.b")


async def test_an_app_that_was_never_connected_is_closed_in_peace() -> None:
    """In the loop and from outside, once or twice."""
    app = Mesh()

    await app.close()
    await app.close()
    app.sync.close()


def test_the_package_offers_its_public_names_and_no_others() -> None:
    """Each is loaded when first used; a wrong one is an ordinary ``AttributeError``."""
    assert sorted(mesh.__all__) == mesh.__all__
    assert set(mesh.__all__) < set(dir(mesh))
    for name in mesh.__all__:
        assert getattr(mesh, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'mesh' has no attribute 'Mush'"):
        mesh.Mush  # type: ignore[attr-defined]  # noqa: B018
