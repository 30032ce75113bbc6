"""What an instrument is: its name, unit, help and labels, and the family of its samples."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)


class Counter(NamedTuple):
    """A number that only grows; Prometheus stores it with ``_total`` behind its name.

    Attributes:
        name: Its name, without ``_total``.
        help: What is counted, as a sentence.
        labels: The names of its labels.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> CounterMetricFamily:
        """A family without samples."""
        return CounterMetricFamily(self.name, self.help, labels=self.labels)

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        return (f"{self.name}_total",)


class Gauge(NamedTuple):
    """A number that goes up and down.

    Attributes:
        name: Its name, the unit last.
        help: What is measured, as a sentence.
        labels: The names of its labels.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> GaugeMetricFamily:
        """A family without samples."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        return (self.name,)


class Histogram(NamedTuple):
    """How often a duration fell into each bucket.

    Attributes:
        name: Its name, the unit last.
        help: What is measured, as a sentence.
        labels: The names of its labels.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> HistogramMetricFamily:
        """A family without samples."""
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))


Instrument = Counter | Gauge | Histogram
