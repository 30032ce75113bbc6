"""What mkdocs cannot do by itself: pages that lie outside of docs/, and links that lead there.

The contract, the ready-to-run apps and the guide for contributors stay where people look for
them in the repository; the site shows them as pages. A link to any other file of the repository
becomes the file's name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
GUESTS = {
    "subjects/README.md": "reference/wire/README.md",
    "subjects/headers.md": "reference/wire/headers.md",
    "subjects/lifecycle.md": "reference/wire/lifecycle.md",
    "subjects/CHANGES.md": "reference/wire/CHANGES.md",
    "workers/README.md": "start/ready-apps.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages of the site that lie elsewhere in the repository, and where they stand on the site."""

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of a folder where the navigation names the folder."""
    config.nav = [_unfolded(entry) for entry in config.nav or []]
    return config


def _unfolded(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {title: _pages(inside) for title, inside in entry.items()}
    return entry


def _pages(inside: Any) -> Any:
    if isinstance(inside, str) and inside.endswith("/"):
        # README comes first: it is the folder's own page.
        names = sorted(page.name for page in (ROOT / "docs" / inside).glob("[!R]*.md"))
        return [inside + name for name in ("README.md", *names)]
    return [_unfolded(entry) for entry in inside] if isinstance(inside, list) else inside


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages that lie outside of docs/."""
    for source, place in GUESTS.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where the site has what they mean."""
    place = page.file.src_uri
    home = next((source for source, guest in GUESTS.items() if guest == place), f"docs/{place}")
    return _LINK.sub(lambda link: _led(link, home, place), markdown)


def _led(link: re.Match[str], home: str, place: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(home), link["target"]))
    inside = GUESTS.get(target)
    if inside is None and target.startswith("docs/"):
        inside = target.removeprefix("docs/")
    if inside is None:
        return f"{link['text']} (`{target}` in the repository)"
    way = posixpath.relpath(inside, posixpath.dirname(place) or ".")
    return f"[{link['text']}]({way}{link['anchor'] or ''})"
