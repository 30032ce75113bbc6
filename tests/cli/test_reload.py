"""``mesh worker --reload``: a change of the files starts the worker anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.command_line import CommandLine

from mesh.errors import SettingsError
from mesh.worker.reloading import check_reload, watched_folders

APP = """
from mesh import Mesh
app = Mesh()
@app.task
async def which() -> str:
    return {answer!r}
"""


def test_an_edit_is_seen_and_a_broken_one_waits_for_the_next(cli: CommandLine) -> None:
    """The worker runs the new code; with a syntax error it says so once and waits."""
    pytest.importorskip("watchfiles")
    file = cli.folder / "app.py"
    file.write_text(APP.format(answer="old"))
    cli("setup")
    with cli.start("worker", "app.py", "--reload") as worker:
        worker.says("worker ready")
        assert cli.json("enqueue", "which", "--wait") == "old"

        file.write_text("def broken(:")
        worker.says("waiting for a change")
        file.write_text(APP.format(answer="new"))
        worker.says("worker ready", times=2)

        assert cli.json("enqueue", "which", "--wait") == "new"
        assert worker.log.count("SyntaxError") == 1
        assert worker.stop() == 0


def test_a_missing_watchfiles_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the message names the command that installs it."""

    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing)

    with pytest.raises(SettingsError, match=r"natsmesh\[reload\]"):
        check_reload()


def test_the_folder_of_the_app_is_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's folder or a package's folder is watched beside the working directory."""
    here, there = tmp_path / "here", tmp_path / "there"
    (there / "watched_shop").mkdir(parents=True)
    (there / "watched_shop" / "__init__.py").touch()
    (here / "inside").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path, str(there)])

    assert watched_folders("inside/app.py:app") == [here]
    assert watched_folders(f"{there}/app.py") == [here, there]
    assert watched_folders("watched_shop.jobs:app") == [here, there / "watched_shop"]
    assert watched_folders("nosuch:app") == [here]
