"""``mesh schedule``: what it says and does, from adding one to removing it."""

from __future__ import annotations

from support.command_line import CommandLine


def test_a_schedule_is_added_shown_paused_and_removed(cli: CommandLine) -> None:
    """All that is said of it comes back, in words and as JSON."""
    cli("setup")
    cli("schedule", "add", "report", "make_report", "--cron", "0 8 * * 1-5", "--tz",
        "Europe/Berlin", "--args", '{"kind": "daily"}', "-q", "reports", "--overlap", "skip",
        "--about", "for the board")  # fmt: skip

    listed = cli("schedule", "list")
    shown = cli.json("schedule", "show", "report", "--json")
    words = cli(
        "schedule", "pause", "report", "--note", "holidays", "--by", "ada", "--for", "3d"
    )
    paused = cli("schedule", "list")
    resumed = cli.json("schedule", "resume", "report", "--json")
    gone = cli("schedule", "remove", "report")

    head, row = listed.splitlines()
    assert head.split() == ["id", "task", "due", "zone", "next", "last", "outcome"]
    assert row.startswith("report  make_report  0 8 * * 1-5  Europe/Berlin")
    assert "08:00:00+0" in row
    assert shown["schedule"]["kwargs"] == {"kind": "daily"}
    assert shown["schedule"]["overlap"] == "skip"
    assert "T08:00:00+0" in shown["next"]
    assert "by ada: holidays" in words
    assert "no scheduler has seen it yet" in words
    assert " paused " in paused
    assert not resumed["is_paused"]
    assert gone == "Schedule report is removed.\n"
    assert cli("schedule", "list") == "No schedules.\n"


def test_what_is_no_schedule_is_not_found(cli: CommandLine) -> None:
    """It ends with the code for what is not there, and says where to look."""
    cli("setup")

    for words in (("show",), ("pause",), ("resume",), ("trigger",), ("remove",), ("history",)):
        assert "mesh schedule list" in cli("schedule", *words, "nobody", code=3)


def test_a_timetable_that_cannot_be_is_a_wrong_command(cli: CommandLine) -> None:
    """A slip is told before anything is asked of a server."""
    never = cli("schedule", "preview", "--cron", "0 0 30 2 *", code=2)
    nowhere = cli("schedule", "preview", "--cron", "@daily", "--tz", "Europe/Berln", code=2)

    assert "no such day in any year" in never
    assert "did you mean 'Europe/Berlin'" in nowhere
    assert "Give the ID" in cli("schedule", "preview", code=2)


def test_a_preview_shows_the_wall_clock_of_the_zone(cli: CommandLine) -> None:
    """Around the night in which the clock leaps over half past two; without any server."""
    said = cli("schedule", "preview", "--cron", "30 2 * * *", "--tz", "Europe/Berlin",
               "--after", "2027-03-27T00:00:00+00:00", "-n", "3")  # fmt: skip

    assert said.splitlines() == [
        "2027-03-27 02:30:00+01:00  Sat",
        "2027-03-28 03:00:00+02:00  Sun",
        "2027-03-29 02:30:00+02:00  Mon",
    ]


def test_past_ticks_are_made_up_for_once(cli: CommandLine, app: str) -> None:
    """A backfill enqueues what is missing, and the history names it; a trigger is beside it."""
    cli("setup", app)
    cli("schedule", "add", "adder", "add", "--every", "1h", "--args", "[1, 2]")
    when = ("--start", "2026-01-01T00:00:00+00:00", "--end", "2026-01-01T02:00:00+00:00")

    first = cli.json("schedule", "backfill", "adder", *when, "--json")
    again = cli("schedule", "backfill", "adder", *when)
    by_hand = cli("schedule", "trigger", "adder").strip()
    history = cli("schedule", "history", "adder")

    assert first["enqueued"][0] == "adder-20260101T000000Z"
    assert again == "0 enqueued, 3 there\n"
    assert cli.state_of(by_hand) == "pending"
    assert history == "No tick has come yet.\n"


def test_the_settings_file_declares_schedules(cli: CommandLine) -> None:
    """Those of the file are stored, changed with it, and removed with --prune only."""
    cli("setup")
    file = cli.folder / "shop.toml"
    file.write_text('[schedules.nightly]\ntask = "clean"\ncron = "0 3 * * *"\nargs = [7]\n')
    cli("schedule", "add", "other", "ping", "--every", "1h")

    created = cli("schedule", "sync", "--config", str(file))
    unchanged = cli.json("schedule", "sync", "--config", str(file), "--json")
    file.write_text('[schedules.nightly]\ntask = "clean"\ncron = "0 4 * * *"\n')
    updated = cli("schedule", "sync", "--config", str(file))
    file.write_text("")
    kept = cli("schedule", "sync", "--config", str(file))
    removed = cli("schedule", "sync", "--prune", "--config", str(file))

    assert created == "created    nightly\n"
    assert unchanged["unchanged"] == ["nightly"]
    assert updated == "updated    nightly\n"
    assert kept == "No schedules are declared.\n"
    assert removed == "removed    nightly\n"
    assert "other" in cli("schedule", "list")
