"""``mesh workers``: a running worker is listed, shown, changed, and told to end."""

from __future__ import annotations

from support.command_line import LIMIT_S, CommandLine
from support.waiting import until_sync


def test_a_running_worker_is_seen_changed_and_drained(cli: CommandLine, app: str) -> None:
    """From another terminal: list, show, set, drain; then it is gone and has ended well."""
    cli("setup", app)
    with cli.start("worker", app) as program:
        program.says("worker ready")
        until_sync(
            lambda: bool(cli.json("workers", "list", "--json")["workers"]),
            "it is seen",
            LIMIT_S,
        )
        (listed,) = cli.json("workers", "list", "--json")["workers"]
        worker = listed["worker"]
        shown = cli("workers", "show", worker)
        cli("workers", "set", worker, "concurrency=7")
        refused = cli("workers", "set", worker, "speed=7", code=2)
        program.says("told to set")
        drained = cli("workers", "drain", worker)

        assert program.ends() == 0
    assert listed["pid"] == program.process.pid
    assert f"pid {program.process.pid}" in shown
    assert "concurrency=N" in refused
    assert drained == f"{worker} drains, and ends then\n"
    assert cli.json("workers", "list", "--json") == {"workers": []}
    assert "does not answer" in cli("workers", "stop", worker, code=3)
