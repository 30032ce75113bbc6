"""``mesh doctor`` on the command line."""

from __future__ import annotations

from support.command_line import CommandLine


def test_the_doctor_says_what_is_wrong_and_what_to_do(cli: CommandLine) -> None:
    """Exit code 1 until `mesh setup` has put it right; then 0."""
    sick = cli("doctor", code=1)

    assert "not-set-up" in sick
    assert "run `mesh setup`" in sick
    assert "1 problem(s)" in sick

    cli("setup")
    assert "no problem" in cli("doctor")


def test_the_doctor_answers_programs_in_json(cli: CommandLine) -> None:
    """Every finding with its level, kind, name, what was seen, and the remedy."""
    cli("setup")
    cli("enqueue", "send", "--queue", "nowhere")

    said = cli.json("doctor", "--json", "--watch", "0.02s", code=1)
    healthy = said["is_healthy"]

    assert not healthy
    (found,) = said["findings"]
    assert (found["kind"], found["name"], found["level"]) == ("no-lane", "nowhere", "problem")
    assert set(found) == {"level", "kind", "name", "what", "remedy"}


def test_a_server_that_does_not_answer_is_the_finding(cli: CommandLine) -> None:
    """It is no crash of the command, and the login in the address is not shown."""
    said = cli("doctor", "--url", "nats://me:hunter22@127.0.0.1:1", code=1)

    assert "server-unreachable" in said
    assert "hunter22" not in said
