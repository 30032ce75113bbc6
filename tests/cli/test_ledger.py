"""``mesh events``, ``mesh logs``, ``mesh job``: the life of a job, for people and programs."""

from __future__ import annotations

import json

from support.command_line import CommandLine


def test_a_failure_is_followed_explained_and_put_right(cli: CommandLine, app: str) -> None:
    """A job fails: it is seen live, listed, shown with its life, retried and deleted."""
    cli("setup", app)
    with (
        cli.start("worker", app) as worker,
        cli.start("events", "tail", "--since", "1h", "--json") as live,
    ):
        worker.says("worker ready")
        cli("enqueue", "fail", "--json", '["no paper"]', "--job-id", "print-1")
        live.says("job.dead")

        listed = cli("job", "list", "--state", "failed")
        as_json = cli.json("job", "show", "print-1", "--json")
        shown = cli("job", "show", "print-1")
        history = cli("job", "history", "print-1").splitlines()
        again = cli.json("job", "retry", "print-1", "--reason", "paper is in", "--json")
        told = cli("events", "tail", "job.replayed", "--since", "1h", "--limit", "1")
        deleted = cli("job", "delete", "print-1")
        live.says("job.deleted")
        worker.stop()

    head, row = listed.splitlines()
    assert head.split() == [
        *("SINCE", "JOB", "STATE", "TASK", "QUEUE", "PRIORITY", "ATTEMPT", "MESSAGE")
    ]
    assert row.split()[1:7] == ["print-1", "failed", "fail", "default", "normal", "1"]
    assert "no paper" in row
    assert [event["name"] for event in as_json["history"]] == [
        "job.enqueued",
        "job.failed",
        "job.dead",
    ]
    assert "history\n" in shown
    assert [line.split()[1] for line in history] == ["job.enqueued", "job.failed", "job.dead"]
    assert again == {"job_id": "print-1", "new_job_id": "print-1-r1"}
    assert "new_job_id=print-1-r1  paper is in  by " in told
    assert deleted == "job print-1 is deleted\n"
    events = [json.loads(line) for line in live.log.splitlines()]
    assert [e["name"] for e in events if e["job_id"] == "print-1"] == [
        "job.enqueued",
        "job.failed",
        "job.dead",
        "job.replayed",
        "job.deleted",
    ]


def test_the_log_of_a_job_is_printed(cli: CommandLine, app: str) -> None:
    """Lines of a worker's tasks and of its child processes are there, as text and as JSON."""
    cli("setup", app)
    with cli.start("worker", app) as worker:
        worker.says("worker ready")
        cli("enqueue", "talk", "--job-id", "talk-1")
        cli("enqueue", "compute", "--job-id", "compute-1")
        followed = cli("logs", "-f", "talk-1").splitlines()
        cli("result", "compute-1", "--timeout", "20s")
        lines = cli("logs", "compute-1", "--json").splitlines()
        worker.stop()

    assert [line.split(maxsplit=1)[1] for line in followed] == [
        "info     shop: hello",
        "warning  goodbye",
    ]
    assert [(json.loads(line)["logger"], json.loads(line)["text"]) for line in lines] == [
        ("stdout", "printed in a child"),
        ("shop", "logged in a child"),
    ]
    assert "printed in a child" in worker.log  # It is passed on, too.


def test_an_operator_is_named(cli: CommandLine, app: str) -> None:
    """MESH_ACTOR says who paused a queue, and --reason why."""
    cli("setup", app)
    cli.environment["MESH_ACTOR"] = "ann"
    cli("queue", "pause", "default", "--reason", "a storm")
    told = cli("events", "tail", "queue.*", "--since", "1h", "--no-follow")

    assert told.split(maxsplit=1)[1] == "queue.paused       default  a storm  by ann\n"
