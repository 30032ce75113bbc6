"""Translate the errors of nats-py and the JetStream API into mesh's own; the only such map."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import nats.errors
from nats.js.errors import APIError

from mesh.errors import (
    BrokerError,
    ConnectError,
    NotProvisionedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    QueueFullError,
)

WRONG_LAST_SEQUENCE = 10071
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
CONSUMER_EXISTS = 10148
MESSAGE_NOT_FOUND = 10037
NOTHING_TO_DELETE = 10057
DUPLICATE_IN_BATCH = 10201
_STORE_FAILED = 10077
_TOO_LARGE = 10054
_FULL_WORDS = ("maximum messages", "maximum bytes", "insufficient")
_RESOURCES = (10023, 10028, 10047)


class ApiError(BrokerError):
    """An error that the JetStream API answered with.

    Attributes:
        err_code: The server's own number, for example 10071.
        description: The server's own words.
        was_resent: What was refused had been sent before, and that was not answered: a
            conflict may be with its own first copy.
    """

    def __init__(self, err_code: int, description: str) -> None:
        self.err_code = err_code
        self.description = description
        self.was_resent = False
        super().__init__(f"the NATS server refused: {description} (error {err_code})")


def from_api(error: dict[str, Any], subject: str) -> BrokerError:
    """Make the error that fits an ``error`` object of the JetStream API."""
    code = int(error.get("err_code", 0))
    words = str(error.get("description", "no description"))
    if code in _RESOURCES:
        remedy = (
            "The server's or the account's storage is used up: free some, or raise the limit"
        )
        return _full(subject, words, remedy)
    if code == _STORE_FAILED and words.startswith(_FULL_WORDS):
        return _full(subject, words, "Wait until workers catch up, or raise the limit")
    if code == _TOO_LARGE:
        return PayloadTooLargeError(
            f"the message for {subject} is larger than its stream accepts"
        )
    if code == STREAM_NOT_FOUND:
        return NotProvisionedError(f"a stream for {subject} does not exist; run `mesh setup`")
    return ApiError(code, words)


def _full(subject: str, words: str, remedy: str) -> QueueFullError:
    fault = QueueFullError(f"{subject} is refused: {words}. {remedy}.")
    fault.subject = subject
    return fault


def no_listener(subject: str) -> NotProvisionedError:
    """Make the error for a publish that no stream answered."""
    return NotProvisionedError(
        f"no stream takes {subject}; run `mesh setup` (or wait: an election looks the same)"
    )


def denied(subject: str) -> PermissionDeniedError:
    """Make the error for a publish that the user may not do."""
    return PermissionDeniedError(
        f"the NATS user may not publish to {subject}; grant it in the server's configuration"
    )


@contextmanager
def translated(what: str) -> Generator[None]:
    """Raise mesh's errors where nats-py raised its own.

    Args:
        what: What was being done, as it reads after "while": ``"reading stream MESH_JOBS"``.
    """
    try:
        yield
    except APIError as error:
        fault = {
            "err_code": error.err_code or 0,
            "description": error.description or str(error),
        }
        raise from_api(fault, what) from error
    except nats.errors.NoRespondersError as error:
        msg = (
            f"nothing answered while {what}: JetStream is off, or the stream "
            "is missing; run `mesh setup`"
        )
        raise NotProvisionedError(msg) from error
    except nats.errors.TimeoutError as error:
        msg = f"the NATS server did not answer in time while {what}"
        raise BrokerError(msg) from error
    except (nats.errors.NoServersError, OSError) as error:
        msg = f"the NATS server cannot be reached while {what}: {error}"
        raise ConnectError(msg) from error
    except nats.errors.Error as error:
        msg = f"{type(error).__name__} while {what}: {error}"
        raise BrokerError(msg) from error
