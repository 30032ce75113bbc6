"""The page of failures names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "operate" / "failures.md"
NAMED = re.findall(r"`([a-z_]+/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_the_page_names_is_there(file: str, test: str) -> None:
    """Each row of the tables rests on a file of tests, or on one test in it."""
    text = (TESTS / file).read_text(encoding="utf-8")

    assert f"def {test}(" in text if test else "def test_" in text


def test_every_row_of_the_page_names_a_test() -> None:
    """No failure is said to be survived without a proof."""
    rows = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith(("| Failure", "|---"))
    ]

    assert len(rows) > 30
    assert [row for row in rows if ".py" not in row] == []
