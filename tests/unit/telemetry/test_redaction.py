"""What is taken for a secret, and what is not."""

from __future__ import annotations

import pytest

from mesh.clock import SYSTEM_CLOCK
from mesh.contract.records import ErrorInfo
from mesh.settings.loading import load
from mesh.telemetry.redaction import Redactor

CANARY = "hunter22"


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter22",
        "PASSWORD = hunter22 was refused",
        "db_password: hunter22",
        '{"api_key": "hunter22", "n": 1}',
        "{'access-token': 'hunter22'}",
        "Authorization: Bearer hunter22",
        "authorization=Basic hunter22==",
        "sent with bearer hunter22",
        "nats://me:hunter22@host:4222/x",
        "https://hunter22@host",
        "?token=hunter22&page=2",
        "X-Api-Key: hunter22",
        "iban=hunter22",
        "card-number: hunter22",
    ],
)
def test_a_secret_is_left_out_of_a_text(text: str) -> None:
    """By its name, as a login, or as an authorization."""
    said = Redactor(names=["iban", "card_number"]).text(text)

    assert CANARY not in said
    assert "[redacted]" in said


@pytest.mark.parametrize(
    "text",
    [
        "unexpected token at line 3",
        "nats://host:4222 answered",
        "mail to me@example.org",
        "the password was refused",
        "job=order-9 took 3.2 s",
        "the basics of it",
    ],
)
def test_an_innocent_text_stays_as_it_is(text: str) -> None:
    """People must be able to read what happened."""
    assert Redactor().text(text) == text


def test_what_follows_a_secret_stays() -> None:
    """Only the value goes."""
    said = Redactor().text("login password=hunter22, then page 2 (token: abc) failed")

    assert said == "login password=[redacted], then page 2 (token: [redacted]) failed"


def test_what_is_known_to_be_secret_is_left_out_wherever_it_stands() -> None:
    """The settings' login, and variables with a telling name; short values are left alone."""
    login = {"user": "worker", "password": "s3cr3t-pw"}
    settings = load(environ={}, arguments={"credentials": login})
    environ = {
        "SHOP_API_KEY": "k3y-of-the-shop",
        "DB_PASSWORD": "abc",
        "PWD": "/home/worker",
        "MESH_SECRET_NAMES": "account",
    }
    redactor = Redactor.of(settings, environ)

    assert redactor.text("<s3cr3t-pw> k3y-of-the-shop") == "<[redacted]> [redacted]"
    innocent = "abc: worker in /home/worker has an account"
    assert redactor.text(innocent) == innocent


def test_values_are_looked_into() -> None:
    """Lists, mappings and objects; numbers stay numbers."""

    class Login:
        def __str__(self) -> str:
            return "Login(password=hunter22)"

    value = {"token": "x", "n": 3, "in": [{"secret": CANARY}, f"token={CANARY}", Login()]}

    said = Redactor().value("request", value)

    assert said == {
        "token": "[redacted]",
        "n": 3,
        "in": [{"secret": "[redacted]"}, "token=[redacted]", "Login(password=[redacted])"],
    }
    assert Redactor().value("password", CANARY) == "[redacted]"


def test_a_failure_is_cleaned_to_its_first_cause() -> None:
    """Message, traceback, notes and causes; its type stays."""
    text = f"token={CANARY}"
    cause = ErrorInfo("KeyError", text, notes=(text,))
    said = Redactor().error(ErrorInfo("ValueError", text, text, (text,), cause))

    assert CANARY not in str(said)
    assert said.type == "ValueError"
    assert said.cause is not None
    assert said.cause.type == "KeyError"


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "a." * 25_000, "token" * 10_000, "://" * 15_000, "bearer " * 7_000]
)
def test_a_long_text_takes_no_quadratic_time(text: str) -> None:
    """What a task raises may be made to be slow: a quadratic pattern would need minutes."""
    started_s = SYSTEM_CLOCK.monotonic()
    Redactor().text(text)

    assert SYSTEM_CLOCK.monotonic() - started_s < 10
