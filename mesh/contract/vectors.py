"""The test vectors: cases that a client in any language can be held against."""

from __future__ import annotations

from typing import Any, NamedTuple

from mesh.contract import (
    cases_of_events,
    cases_of_keys,
    cases_of_leases,
    cases_of_schedules,
    cases_of_workers,
)
from mesh.contract.case import ERRORS, Case
from mesh.contract.cases_of_bodies import ENVELOPE, RECORDS
from mesh.contract.cases_of_names import HEADERS, NAMES, SUBJECTS


class Vectors(NamedTuple):
    """One file of vectors.

    Attributes:
        about: What its cases mean.
        cases: The cases.
    """

    about: str
    cases: tuple[Case, ...]


FILES: dict[str, Vectors] = {
    "envelope": Vectors(
        """Bodies of job messages. `content_type` is the header Mesh-Content-Type; if it is not
        given, the message has none. `expect` is the job as mesh itself writes it: `args` and
        `kwargs` always, other fields only where they say something else than the default.""",
        ENVELOPE + cases_of_keys.ENVELOPE + cases_of_schedules.ENVELOPE,
    ),
    "records": Vectors(
        """Stored records and events, all in JSON. `record` names a schema. `expect` is the
        record as mesh itself writes it.""",
        (
            RECORDS
            + cases_of_events.RECORDS
            + cases_of_keys.RECORDS
            + cases_of_leases.RECORDS
            + cases_of_schedules.RECORDS
            + cases_of_workers.RECORDS
        ),
    ),
    "subjects": Vectors(
        """Names of subjects, streams, buckets and consumers. `build` names a builder of
        subjects.toml, without its class; the other fields are its arguments. `read` is the
        subject of a job that is taken apart.""",
        SUBJECTS,
    ),
    "names": Vectors(
        """Names that people and programs choose. `kind` is namespace, queue, priority, job id,
        schedule or task; a name that is taken comes back as it is.""",
        NAMES,
    ),
    "headers": Vectors(
        """Header blocks as they travel. `pairs` are written in this order. `block` is read: the
        first of two headers with one name counts.""",
        HEADERS,
    ),
}
"""What each file holds, by its name."""


def document(name: str) -> dict[str, Any]:
    """Make the content of one file of vectors."""
    about, cases = FILES[name]
    codes = {case.error for case in cases}
    return {
        "about": " ".join(about.split()),
        "errors": {code: words for code, words in ERRORS.items() if code in codes},
        "cases": [case.as_data() for case in cases],
    }
