"""Settings shown to people: complete, readable, and without secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from mesh.durations import seconds
from mesh.settings.addresses import address_fault, redact_login, take_login
from mesh.settings.describing import describe, format_duration
from mesh.settings.keys import all_keys
from mesh.settings.loading import load_with_origins
from mesh.settings.model import CredentialsSettings, JobDefaults, Settings

HIDDEN = "hunter3"
SECRETIVE = Settings(
    url="nats://ada:hunter2@a:1,nats://t0ken@b",
    credentials=CredentialsSettings(user="ada", password=HIDDEN),
)


def test_repr_shows_no_secret() -> None:
    """Settings may end up in a log or a traceback; their secrets do not."""
    login = take_login("nats://t0ken@b")

    shown = (
        f"{SECRETIVE!r} {SECRETIVE.credentials!r} {login!r} {pretty_repr([SECRETIVE, login])}"
    )

    assert "hunter" not in shown
    assert "t0ken" not in shown
    assert "user='ada'" in shown


def test_a_description_has_a_row_for_every_setting_and_no_secret() -> None:
    """Each setting is listed once, in order, with secrets redacted."""
    rows = describe(SECRETIVE)

    assert [row.key for row in rows] == list(all_keys())
    assert "hunter" not in str(rows)
    assert "t0ken" not in str(rows)


def test_a_description_says_where_each_value_came_from() -> None:
    """With the origins of loading, each row names its source."""
    loaded = load_with_origins(
        arguments={"job_defaults.timeout": "90m", "worker.queues": ["a", "b"]},
        environ={"MESH_EVENTS_ENABLED": "no"},
    )

    rows = {row.key: row for row in describe(loaded.settings, loaded.origins)}

    assert (rows["job_defaults.timeout_s"].value, rows["job_defaults.timeout_s"].origin) == (
        "1h30m",
        "arguments",
    )
    assert rows["worker.queues"].value == "a,b"
    assert (rows["events.enabled"].value, rows["events.enabled"].origin) == (
        "false",
        "MESH_EVENTS_ENABLED",
    )
    assert rows["namespace"].origin == "default"


def test_without_origins_only_what_differs_from_the_default_is_given() -> None:
    """Settings built by hand can be described too."""
    rows = {row.key: row.origin for row in describe(Settings(namespace="shop"))}

    assert (rows["namespace"], rows["url"]) == ("given", "default")


def test_the_first_attempt_counts() -> None:
    """Three retries make four attempts."""
    assert JobDefaults(retry_max=3).max_attempts == 4


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    """What a description shows can be pasted back into a file."""
    written = format_duration(milliseconds / 1000)

    assert seconds(written) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("nats://host:4222", None),
        ("host", None),
        ("tls://[::1]:4222", None),
        ("wss://user@host:443", None),
        ("nats://host:0", "no valid host and port"),
        ("nats://host:99999", "no valid host and port"),
        ("nats://:4222", "no valid host and port"),
        ("http://host", "starts with http://"),
        ("nats://ho st", "contains a space"),
    ],
)
def test_a_wrong_address_is_told_what_is_wrong(address: str, fault: str | None) -> None:
    """Each address is checked for its scheme, host and port."""
    found = address_fault(address)

    assert (found is None) if fault is None else (fault in (found or ""))


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_no_password_survives_redaction(user: str, password: str) -> None:
    """Whatever a login is made of, nothing of it is left in the shown address."""
    login = f"{user}:{password}".replace("://", "")

    shown = redact_login(f"nats://a,nats://{login}@host:4222,nats://b")

    assert shown == "nats://a,nats://[redacted]@host:4222,nats://b"
