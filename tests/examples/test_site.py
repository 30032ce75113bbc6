"""The documentation site is built from all pages, and asks no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LOADED = re.compile(
    r'(?:<script[^>]* src|<link[^>]* rel="stylesheet"[^>]* href)="(https?:[^"]+)'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does: a link or a page that leads nowhere is an error."""
    place = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return place


@pytest.mark.timeout(120)
def test_every_page_is_on_the_site(site: Path) -> None:
    """A page that was written can be read, and so can the contract and the guide."""
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]

    for page in pages:
        name = page.parent if page.stem in {"index", "README"} else page.with_suffix("")
        assert (site / name / "index.html").is_file(), page
    for guest in ("contributing", "reference/wire/headers", "start/ready-apps"):
        assert (site / guest / "index.html").is_file(), guest


@pytest.mark.timeout(120)
def test_the_site_asks_no_other_host(site: Path) -> None:
    """Scripts and styles come from the site itself: it can be read without a network."""
    asked = {
        address
        for page in site.rglob("*.html")
        for address in _LOADED.findall(page.read_text(encoding="utf-8"))
    }

    assert asked == set()


@pytest.mark.timeout(120)
def test_machines_can_read_it_whole(site: Path) -> None:
    """llms.txt lists the pages, and llms-full.txt holds them, reference from docstrings too."""
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")

    for folder in ("start", "concepts", "how-to", "operate", "reference", "decisions"):
        for page in (ROOT / "docs" / folder).rglob("*.md"):
            name = page.relative_to(ROOT / "docs").with_suffix("")
            assert f"/{name}/" in listed or page.stem == "README", page
    assert "Enqueue a prepared call" in whole
