"""The dashboards as ops/grafana/build.py has them, for tests that ask their queries."""

from __future__ import annotations

import importlib.util
from typing import Any

from support.prometheus import OPS


def builder() -> Any:
    """The module that writes the dashboards; it is no part of a package."""
    spec = importlib.util.spec_from_file_location("build", OPS / "grafana/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def queries() -> dict[str, str]:
    """Every query of every dashboard, by where it stands."""
    return {
        f"{board.uid}: {panel.title}: {legend}": query
        for board in builder().BOARDS
        for panel in board.panels
        for legend, query in panel.queries.items()
    }
