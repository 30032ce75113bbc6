"""``mesh setup``: what it says it does, and does."""

from __future__ import annotations

from pathlib import Path

from support.command_line import CommandLine


def actions(steps: list[dict[str, str]], kind: str) -> dict[str, str]:
    """The action of each step of one kind, by name."""
    return {step["name"]: step["action"] for step in steps if step["kind"] == kind}


def test_a_plan_changes_nothing_and_a_second_setup_keeps_all(
    cli: CommandLine, namespace: str
) -> None:
    """--plan says what would be created; afterwards everything is kept."""
    plan = cli.json("setup", "--queue", "mail", "--plan", "--json")
    done = cli.json("setup", "--queue", "mail", "--json")
    again = cli.json("setup", "--queue", "mail", "--json")

    assert (plan["is_plan"], done["is_plan"]) == (True, False)
    assert plan["steps"] == done["steps"], "the plan had changed nothing"
    assert {step["action"] for step in done["steps"]} == {"create"}
    assert {step["action"] for step in again["steps"]} == {"keep"}
    assert f"{namespace.upper()}_JOBS" in actions(done["steps"], "stream")
    assert {"default-normal", "mail-high"} <= actions(done["steps"], "consumer").keys()


def test_the_queues_of_an_app_are_created(cli: CommandLine, app: str) -> None:
    """With an app the queues that its tasks name are there, without --queue."""
    done = cli.json("setup", app, "--json")

    assert "slow-low" in actions(done["steps"], "consumer")


def test_a_change_is_shown_with_its_old_and_new_value(cli: CommandLine, tmp_path: Path) -> None:
    """The table names what an update changes, and settings come from --config."""
    settings = tmp_path / "mesh.toml"
    settings.write_text("[limits]\nmax_jobs = 1000\n")
    cli("setup")

    said = cli("setup", "--plan", "--config", str(settings))

    head, *rows = said.splitlines()
    assert head.split() == ["action", "kind", "name", "changes"]
    assert [row.split()[0] for row in rows].count("update") == 1
    assert "max_msgs: -1 -> 1000" in said
