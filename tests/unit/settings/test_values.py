"""One value at a time: what each type accepts, from texts and from programs."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidNameError
from mesh.identifiers import check_namespace, check_queue
from mesh.settings.keys import all_keys, spellings, variables
from mesh.settings.sections import Namespace, QueueName
from mesh.settings.values import Given, read_value, rule_of


def read(key: str, value: object, *, is_text: bool = True) -> object:
    """Read a value for a key as the environment would give it."""
    return read_value(Given(all_keys()[key], value, "test", f"test: {key}", is_text=is_text))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("worker.concurrency", " 5 ", 5),
        ("replicas", "3", 3),
        ("job_defaults.retry_jitter", "0.5", 0.5),
        ("worker.strict_priority", "Yes", True),
        ("events.enabled", "off", False),
        ("worker.queues", "mail, web,", ("mail", "web")),
        ("job_defaults.priority", "HIGH", "high"),
        ("log_level", "Debug", "debug"),
        ("worker.shutdown_grace_s", "0", 0.0),
        ("events.max_age_s", "1h30m", 5400.0),
    ],
)
def test_a_text_stands_for_every_type(key: str, text: str, value: object) -> None:
    """Variables and options are texts; each becomes the setting's own type."""
    assert read(key, text) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("worker.concurrency", "5"),
        ("worker.concurrency", True),
        ("worker.queues", "mail"),
        ("worker.strict_priority", "yes"),
        ("worker.ack_wait_s", True),
        ("worker.ack_wait_s", float("nan")),
        ("worker.ack_wait_s", float("inf")),
        ("worker.ack_wait_s", 0),
        ("worker.ack_wait_s", -1),
        ("worker.ack_wait_s", [5]),
        ("namespace", "mesh\n"),
        ("namespace", "9lives"),
        ("worker.queues", ["a.b"]),
        ("url", ""),
    ],
)
def test_a_file_or_program_must_give_the_right_type(key: str, value: object) -> None:
    """Outside texts nothing is guessed, and the fault says what the value must be."""
    with pytest.raises(ValueError, match=f"^test: {key} is .*; it must be "):
        read(key, value, is_text=False)


@given(st.text(max_size=40))
def test_namespaces_and_queues_follow_the_grammar_of_names(name: str) -> None:
    """The patterns of the settings accept exactly what the identifiers accept."""
    for check, kind in ((check_namespace, Namespace), (check_queue, QueueName)):
        try:
            is_name = bool(check(name))
        except InvalidNameError:
            is_name = False

        try:
            is_setting = bool(msgspec.convert(name, kind))
        except msgspec.ValidationError:
            is_setting = False

        assert is_setting == is_name


@given(st.from_regex(re.compile(r"[A-Za-z0-9_-]{1,66}"), fullmatch=True))
def test_queue_names_of_every_length_follow_the_grammar(name: str) -> None:
    """Names up to 64 characters pass, longer ones do not."""
    try:
        assert read("job_defaults.queue", name) == name
    except ValueError:
        assert len(name) > 64


def test_every_setting_has_a_rule_in_words() -> None:
    """No fault falls back to words that do not fit the type."""
    for key in all_keys().values():
        is_bool = isinstance(key.default, bool)
        assert (rule_of(key) == "true or false") is is_bool, key.name


def test_every_default_passes_its_own_check() -> None:
    """The defaults are settings like all others."""
    for key in all_keys().values():
        if key.default is not None:
            assert read(key.name, key.default, is_text=False) == key.default


def test_no_two_settings_share_a_name() -> None:
    """Short forms of durations and variables each lead to one setting."""
    assert len({key.variable for key in all_keys().values()}) == len(all_keys())
    for key in all_keys().values():
        assert spellings()[key.name] is key
        assert variables()[key.variable] is key
        assert spellings()[key.name.removesuffix("_s")] is key
