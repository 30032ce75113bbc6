"""Schedules as they are declared: in code beside a task, in tables of the settings file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from mesh import Mesh
from mesh.client.schedule_making import make_schedule, make_timetable, merged
from mesh.contract.schedules import Pause
from mesh.errors import ArgumentsError, MeshError, OptionError, SettingsError, TimetableError
from mesh.settings.model import Settings


def app_with(file: Path, text: str = "") -> Mesh:
    """An app with one task and a settings file."""
    file.write_text(text, encoding="utf-8")
    app = Mesh(config=file)

    @app.task(queue="reports", priority="high")
    def report(kind: str = "daily") -> str:
        return kind

    return app


async def report(kind: str) -> str:
    """A task's function."""
    return kind


def test_decorators_stack_and_leave_the_task_as_it_is() -> None:
    """One task may have several schedules; each has an id, by default the task's name."""
    app = Mesh()
    task = app.task(name="shop.report")(report)

    same = app.every("5m", args=["a"])(app.cron("@daily", id="r2", kwargs={"kind": "b"})(task))

    first, second = app.declared_schedules()
    assert same is task
    assert (first.schedule_id, first.keywords, first.call.kwargs) == (
        "r2",
        {"cron": "@daily"},
        b'{"kind":"b"}',
    )
    assert (second.schedule_id, second.call.args, second.origin) == (
        "shop-report",
        b'["a"]',
        "code",
    )


def test_a_wrong_declaration_fails_where_it_stands() -> None:
    """A slip in code is an error at import and not at the first tick."""
    app = Mesh()
    task = app.task(report)
    app.cron("@daily", id="r", args=["a"])(task)

    with pytest.raises(TimetableError):
        app.cron("0 0 30 2 *", id="x", args=["a"])(task)
    with pytest.raises(ArgumentsError):
        app.cron("@daily", id="x")(task)
    with pytest.raises(OptionError, match="already"):
        app.cron("@daily", id="r", args=["a"])(task)
    with pytest.raises(OptionError, match="no task"):
        app.cron("@daily", id="x")(report)  # pyright: ignore[reportArgumentType] - that is the slip


def test_the_settings_file_declares_and_still_sets(tmp_path: Path) -> None:
    """Tables of schedules stand beside settings; the task's own options count."""
    text = """
namespace = "shop"
[schedules.daily]
task = "report"
cron = "0 8 * * *"
args = ["daily"]
timeout = "30s"
overlap = "skip"
"""
    app = app_with(tmp_path / "shop.toml", text)

    (declared,) = app.declared_schedules()
    made = make_schedule(declared, app.settings, 7)

    assert app.settings.namespace == "shop"
    assert (made.queue, made.priority, made.timeout_s) == ("reports", "high", 30.0)
    assert (made.overlap, made.origin, made.created_at_ms) == ("skip", "file", 7)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('cron = "@daily"', "which task"),
        ('task = "report"', "exactly one of cron"),
        ('task = "report"\ncron = "@daily"\ntimezone = "UTC"', "no such option"),
        ('task = "report"\ncron = "@daily"\noverlaps = "skip"', "did you mean 'overlap'"),
        ('task = "report"\ncron = "@daily"\nargs = [1]', "arguments of task 'report'"),
        ('task = "report"\nevery = "soon"', "not a duration"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_place(
    tmp_path: Path, table: str, why: str
) -> None:
    """The error names the schedule's table."""
    app = app_with(tmp_path / "shop.toml", f"[schedules.daily]\n{table}\n")

    with pytest.raises(SettingsError, match=r"schedules\.daily") as refusal:
        app.declared_schedules()

    assert why in str(refusal.value)


def test_a_schedule_is_declared_in_one_place(tmp_path: Path) -> None:
    """One id in code and in the file would be changed back and forth."""
    app = app_with(tmp_path / "shop.toml", '[schedules.r]\ntask = "t"\nevery = "5m"\n')
    app.every("5m", id="r", args=["a"])(app.task(name="other")(report))

    with pytest.raises(SettingsError, match="declared in code and in the settings file: r"):
        app.declared_schedules()


def test_a_declaration_that_says_nothing_new_changes_nothing() -> None:
    """Age and pause are kept; only what is said counts, and a new timetable starts anew."""
    app = Mesh()
    app.every("5m", id="r", args=["a"])(app.task(report))
    (declared,) = app.declared_schedules()
    old = make_schedule(declared, Settings(), 1)
    paused = msgspec.structs.replace(old, pause=Pause(1), edition=4)

    same = merged(paused, make_schedule(declared, Settings(), 9))
    slower = declared._replace(keywords={"every": "9m"})
    changed = merged(paused, make_schedule(slower, Settings(), 9))

    assert same is paused
    assert (changed.edition, changed.since_ms, changed.created_at_ms) == (5, 9, 1)
    assert changed.pause == Pause(1)


def test_moments_are_datetimes_or_texts_with_an_offset() -> None:
    """One or several, in any order; each once."""
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    table = make_timetable({"at": ["2030-01-01T02:00:00+01:00", moment, moment]})

    assert table.at_ms == (1_893_456_000_000, 1_893_459_600_000)
    assert make_timetable({"at": moment}).at_ms == (1_893_456_000_000,)


@pytest.mark.parametrize(
    "keywords",
    [
        {"at": "tomorrow"},
        {"at": []},
        {"at": 7},
        {"at": "1969-12-31T00:00:00Z"},
        {"cron": 7},
        {"every": "5m", "dst_gap": "guess"},
        {"every": "5m", "start": "2030-01-01T00:00:00"},
        {"every": "5m", "tz": "Mars"},
        {},
    ],
)
def test_a_timetable_that_says_nonsense_is_refused(keywords: dict[str, object]) -> None:
    """Whatever is wrong with it, the error is one of mesh's own."""
    with pytest.raises(MeshError):
        make_timetable(keywords)
