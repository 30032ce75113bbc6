"""Read what mesh tells Prometheus: fetch a page, and find one sample in it."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

LIMIT_S = 20.0
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def fetch(url: str, accept: str = "text/plain") -> tuple[int, str]:
    """Ask for a page; its status and body."""
    try:
        with urlopen(Request(url, headers={"Accept": accept}), timeout=LIMIT_S) as answer:
            return int(answer.status), answer.read().decode()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def sample(page: str, name: str, **labels: str) -> float | None:
    """The value of the first sample with this name and these labels among its own."""
    for family in text_string_to_metric_families(page):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return float(found.value)
    return None
