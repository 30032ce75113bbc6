"""``mesh archive``: fill it, ask it, export it, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.archives import NOON_MS, filled, job, rows
from support.command_line import CommandLine

from mesh.archive.opening import open_database


@pytest.fixture
def shop(tmp_path: Path) -> CommandLine:
    """The command line in the namespace shop, without any server."""
    return CommandLine(None, "shop", tmp_path, None)


@pytest.fixture
def offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The same, with an archive of three jobs."""
    cli = CommandLine("nats://127.0.0.1:1", "shop", tmp_path, capfd)
    cli.environment["MESH_ARCHIVE_URL"] = str(tmp_path / "archive.db")
    filled(
        str(tmp_path / "archive.db"),
        job("a1"),
        job("a2", "failed", error_type="app.BadAddress", error_message="no\nat " + "x" * 99),
        job("b1", task="bill", enqueued_ms=NOON_MS + 1),
    )
    return cli


def test_the_ledger_is_archived_and_asked(cli: CommandLine, tmp_path: Path) -> None:
    """One command reads the ledger; the others answer from the database."""
    place = ("--database", str(tmp_path / "archive.db"))
    cli("setup")
    cli("enqueue", "hello", "--id", "order-9")

    archived = cli.json("archive", *place, "--once", "--json")
    listed = cli.json("archive", "query", *place, "--id", "order", "--json")
    shown = cli("archive", "show", "order-9", *place)

    assert archived == {"events": 1}
    assert [(one["id"], one["state"]) for one in listed["jobs"]] == [("order-9", "pending")]
    assert "hello" in shown
    assert "enqueued" in shown


def test_it_runs_until_it_is_told_to_stop(cli: CommandLine, tmp_path: Path) -> None:
    """By default into .mesh, which is kept out of git; SIGTERM ends it with code 0."""
    cli("setup")
    with cli.start("archive") as program:
        program.says("archiving")
        assert program.stop() == 0

    assert (tmp_path / ".mesh/archive.db").exists()
    assert (tmp_path / ".mesh/.gitignore").read_text() == "*\n"


def test_jobs_are_listed_in_a_table(offline: CommandLine) -> None:
    """Errors are cut to one short line, and the last line says how to go on."""
    text = offline("archive", "query", "--limit", "2")
    rest = offline("archive", "query", "--after", text.rpartition("--after ")[2].strip())

    lines = text.splitlines()
    assert lines[0].split()[:3] == ["id", "state", "task"]
    assert [line.split()[0] for line in lines[1:3]] == ["b1", "a2"]
    assert "app.BadAddress: no at xxx" in lines[2]
    assert lines[2].endswith("...")
    assert rest.splitlines()[1].startswith("a1")
    assert "--after" not in rest


def test_statistics_are_printed_for_people_and_programs(offline: CommandLine) -> None:
    """Tables with counts and durations, or one JSON object."""
    text = offline("archive", "stats")
    found = offline.json("archive", "stats", "--state", "failed", "--json")

    assert text.startswith("3 jobs")
    assert "app.BadAddress" in text
    assert found["by_state"] == {"failed": 1}


def test_jobs_are_exported(offline: CommandLine, tmp_path: Path) -> None:
    """JSON lines into a file or to stdout, Parquet as the file's name says."""
    lines, parquet = tmp_path / "jobs.jsonl", tmp_path / "jobs.parquet"

    said = offline("archive", "export", str(lines), "--task", "send")
    printed = offline("archive", "export", "-", "--id", "a1")
    counted = offline.json("archive", "export", str(parquet), "--json")

    assert said.startswith("wrote 2 jobs")
    assert len(lines.read_text().splitlines()) == 2
    assert json.loads(printed)["id"] == "a1"
    assert counted["jobs"] == 3
    assert parquet.read_bytes()[:4] == b"PAR1"
    assert "stdout" in offline("archive", "export", "-", "--format", "parquet", code=2)


def test_what_is_old_is_removed_on_demand(offline: CommandLine, tmp_path: Path) -> None:
    """For ever keeps all; a second keeps nothing that old."""
    kept = offline.json("archive", "prune", "--keep", "0", "--keep-failed", "0", "--json")
    gone = offline("archive", "prune", "--keep", "0", "--keep-failed", "1s")

    # The jobs are of a time to come, so none of them is older than a second yet.
    assert kept == {"jobs": 0, "events": 0}
    assert gone.startswith("removed 0 jobs")


def test_tables_are_brought_up_to_date_on_demand(shop: CommandLine, tmp_path: Path) -> None:
    """A new database gets its tables, an archive is left as it is."""
    url = str(tmp_path / "new.db")

    shop("archive", "migrate", "--database", url)
    shop("archive", "migrate", "--database", url)

    assert rows(url, "SELECT value FROM about WHERE name = 'version'") == [("1",)]


def test_what_cannot_be_asked_is_an_error_with_advice(
    offline: CommandLine, tmp_path: Path
) -> None:
    """No archive, no such job, no such page, a newer version."""
    nowhere = offline("archive", "query", "--database", str(tmp_path / "no.db"), code=1)
    nobody = offline("archive", "show", "nobody", code=3)
    no_page = offline("archive", "query", "--after", "x", code=2)
    database = open_database(str(tmp_path / "archive.db"))
    database.execute("UPDATE about SET value = '99' WHERE name = 'version'")
    database.close()
    newer = offline("archive", "stats", code=1)

    assert "mesh archive" in nowhere
    assert "nobody" in nobody
    assert "next" in no_page
    assert "version 99" in newer


def test_options_of_a_command_go_behind_it(offline: CommandLine) -> None:
    """Before it they would be lost, so that is said."""
    said = offline("archive", "--database", "x.db", "query", code=2)

    assert "mesh archive query --database" in said
