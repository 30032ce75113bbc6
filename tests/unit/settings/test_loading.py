"""Loading settings: which source wins, and that all faults come at once."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import SettingsError
from mesh.settings.loading import check, load, load_with_origins
from mesh.settings.model import CredentialsSettings, Settings, WorkerSettings

DECODED = "p@ss"


def faults_of(error: pytest.ExceptionInfo[SettingsError]) -> str:
    """All faults in one text."""
    return "\n".join(error.value.faults)


def test_without_any_source_all_defaults_hold(tmp_path: Path) -> None:
    """Nothing given means the settings of a laptop."""
    assert load(environ={}, directory=tmp_path) == Settings()


def test_each_source_beats_the_ones_below_it(tmp_path: Path) -> None:
    """The command line beats arguments, then environment, file and defaults."""
    (tmp_path / "mesh.toml").write_text(
        '[worker]\nconcurrency = 1\nprocesses = 2\nack_wait = "3m"\nheartbeat = 4\n'
    )

    loaded = load_with_origins(
        cli={"worker.concurrency": "31"},
        arguments={"worker": {"concurrency": 21, "processes": 22}},
        environ={
            "MESH_WORKER_CONCURRENCY": "11",
            "MESH_WORKER_PROCESSES": "12",
            "MESH_WORKER_ACK_WAIT": "13s",
        },
        directory=tmp_path,
    )

    assert loaded.settings.worker == WorkerSettings(
        concurrency=31, processes=22, ack_wait_s=13.0, heartbeat_s=4.0
    )
    assert loaded.origins == {
        "worker.concurrency": "command line",
        "worker.processes": "arguments",
        "worker.ack_wait_s": "MESH_WORKER_ACK_WAIT",
        "worker.heartbeat_s": "mesh.toml",
    }


def test_options_that_were_not_given_leave_the_value_alone(tmp_path: Path) -> None:
    """None on the command line or among the arguments means not given."""
    settings = load(
        cli={"url": None, "worker": {"queues": None}},
        arguments={"namespace": None},
        environ={"MESH_URL": "nats://b:1"},
        directory=tmp_path,
    )

    assert settings == Settings(url="nats://b:1")


def test_faults_of_all_sources_are_reported_together(tmp_path: Path) -> None:
    """One error names every fault, each with its source."""
    (tmp_path / "mesh.toml").write_text("[worker]\nconurrency = 5\nprocesses = 0\n")

    with pytest.raises(SettingsError) as error:
        load(
            cli={"storage": "sand"},
            arguments={"replicas": 2},
            environ={"MESH_STORAGE": "tape", "MESH_WORKER_CONURRENCY": "5"},
            directory=tmp_path,
        )

    assert sorted(error.value.faults) == [
        "MESH_STORAGE is 'tape'; it must be one of file, memory",
        "MESH_WORKER_CONURRENCY is not a setting; did you mean MESH_WORKER_CONCURRENCY?",
        "arguments: replicas is 2; it must be one of 1, 3, 5",
        "command line: storage is 'sand'; it must be one of file, memory",
        "mesh.toml: worker.conurrency is not a setting; did you mean worker.concurrency?",
        "mesh.toml: worker.processes is 0; it must be a whole number of at least 1",
    ]


def test_a_timedelta_is_a_duration(tmp_path: Path) -> None:
    """A program may give durations as it holds them."""
    settings = load(
        arguments={"job_defaults.timeout": timedelta(minutes=2)}, environ={}, directory=tmp_path
    )

    assert settings.job_defaults.timeout_s == 120.0


def test_a_login_in_the_address_becomes_credentials(tmp_path: Path) -> None:
    """The address is kept without the login, which is decoded."""
    settings = load(
        environ={"MESH_NATS_URL": "nats://ada:p%40ss@a:4222,nats://b"}, directory=tmp_path
    )

    assert settings.url == "nats://a:4222,nats://b"
    assert settings.servers == ("nats://a:4222", "nats://b")
    assert settings.credentials == CredentialsSettings(user="ada", password=DECODED)


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"MESH_URL": "nats://x@a,nats://y@b"}, "carries different logins"),
        ({"MESH_URL": "nats://u:p,w@a"}, "write , as %2C"),
        ({"MESH_URL": "nats://u:p@a", "MESH_CREDENTIALS_TOKEN": "t"}, "keep one"),
        ({"MESH_CREDENTIALS_TOKEN": "t", "MESH_CREDENTIALS_USER": "u"}, "keep one way to log"),
        ({"MESH_CREDENTIALS_PASSWORD": "p"}, "without credentials.user"),
        ({"MESH_TLS_CERT_FILE": __file__}, "belong together"),
        ({"MESH_WORKER_HEARTBEAT": "6s"}, "at most half of worker.ack_wait_s (10)"),
        ({"MESH_JOB_DEFAULTS_RETRY_DELAY": "1h"}, "must not be above"),
        ({"MESH_URL": ","}, "names no server"),
        ({"MESH_URL": "redis://localhost"}, "starts with redis://"),
    ],
)
def test_values_that_do_not_fit_together_are_faults(
    environ: dict[str, str], fault: str, tmp_path: Path
) -> None:
    """Rules between settings are checked too, and name the source."""
    with pytest.raises(SettingsError) as error:
        load(environ=environ, directory=tmp_path)

    assert fault in faults_of(error)
    assert any(name in faults_of(error) for name in environ)


def test_a_refused_value_brings_no_second_fault(tmp_path: Path) -> None:
    """A rule that rests on a refused value is not applied to its default."""
    with pytest.raises(SettingsError) as error:
        load(
            environ={"MESH_WORKER_HEARTBEAT": "9s", "MESH_WORKER_ACK_WAIT": "long"},
            directory=tmp_path,
        )

    assert len(error.value.faults) == 1


def test_secrets_stay_out_of_faults(tmp_path: Path) -> None:
    """A refused secret or address is reported without what must not be shown."""
    with pytest.raises(SettingsError) as error:
        load(
            arguments={"credentials": {"token": 123456}, "url": ["nats://ada:secret@host"]},
            environ={"MESH_URL": "nats://ada:secret,secret@host:no"},
            directory=tmp_path,
        )

    assert "123456" not in faults_of(error)
    assert "secret" not in faults_of(error)


def test_settings_built_by_hand_are_checked() -> None:
    """A program that skips load still gets every fault at once."""
    wrong = Settings(namespace="Ö", worker=WorkerSettings(concurrency=0, heartbeat_s=9.0))

    with pytest.raises(SettingsError) as error:
        check(wrong)

    assert len(error.value.faults) == 3


def test_sound_settings_built_by_hand_pass_unchanged() -> None:
    """The check returns what it was given."""
    settings = Settings(namespace="shop", worker=WorkerSettings(queues=("mail",)))

    assert check(settings) == settings


@given(st.dictionaries(st.text(max_size=20), st.integers() | st.text() | st.none(), max_size=4))
def test_any_nonsense_ends_in_settings_or_a_settings_error(given_by: dict[str, object]) -> None:
    """Whatever a program passes, load never fails in another way."""
    with contextlib.suppress(SettingsError):
        load(arguments=given_by, environ={}, file=Path(__file__).with_name("empty.toml"))


def test_settings_are_frozen() -> None:
    """Nobody changes settings after the door."""
    with pytest.raises(AttributeError):
        Settings().namespace = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_settings_survive_a_trip_through_json() -> None:
    """Another process can be given the same settings."""
    settings = Settings(worker=WorkerSettings(queues=("a", "b")))

    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings
