"""What the server says of itself and of a namespace, as data; nothing is judged here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from mesh.client.lanes import LaneState
from mesh.client.queues import QueueStatus
from mesh.settings.model import Settings
from mesh.transport.provisioner import Step


class StreamConfig(Struct, frozen=True):
    """The part of a stream's configuration that is judged."""

    max_msgs: int = -1
    max_bytes: int = -1
    discard: str = "old"


class StreamState(Struct, frozen=True):
    """How full a stream is; ``last_ts`` is when its last message came, RFC 3339."""

    messages: int = 0
    bytes: int = 0
    last_seq: int = 0
    last_ts: str = ""
    consumer_count: int = 0


class Peer(Struct, frozen=True):
    """One replica of a stream."""

    name: str
    current: bool = False
    offline: bool = False


class Cluster(Struct, frozen=True):
    """Who keeps a stream; a stream on a single server may have no leader named."""

    leader: str = ""
    replicas: tuple[Peer, ...] = ()


class Source(Struct, frozen=True):
    """From where a stream takes messages; ``active``: nanoseconds since it last heard of it."""

    name: str
    lag: int = 0
    active: int = 0


class StreamInfo(Struct, frozen=True):
    """What the server says of one stream."""

    config: StreamConfig = StreamConfig()
    state: StreamState = StreamState()
    cluster: Cluster | None = None
    sources: tuple[Source, ...] = ()
    ts: str = ""


class AccountLimits(Struct, frozen=True):
    """The bounds of an account; -1: none."""

    max_memory: int = -1
    max_storage: int = -1


class Account(Struct, frozen=True):
    """What an account uses, in bytes."""

    memory: int = 0
    storage: int = 0
    limits: AccountLimits = AccountLimits()


class Facts(Struct, frozen=True, kw_only=True):
    """What was seen.

    Attributes:
        settings: What should be.
        now_ms: This machine's time, in milliseconds since the epoch.
        skew_ms: How far this machine's clock is surely before (above zero) or behind that of
            the server.
        round_trip_ms: How long the quickest question took.
        account: What the account uses.
        streams: The namespace's streams and buckets, by name; None: it is missing.
        steps: What `mesh setup` would do.
        conflict: Why it could not do it.
        queues: The queues.
        lanes: Their lanes, as first seen.
        again: The same a moment later; empty if nothing looked suspicious.
        leaderless_ms: For how long no scheduler has said that it leads, by the server's clock;
            infinity: none ever did, or the last one has stopped; None: no schedule needs one.
    """

    settings: Settings
    now_ms: int
    skew_ms: float = 0.0
    round_trip_ms: float = 0.0
    account: Account = Account()
    streams: Mapping[str, StreamInfo | None] = {}
    steps: Sequence[Step] = ()
    conflict: str = ""
    queues: Sequence[QueueStatus] = ()
    lanes: Sequence[LaneState] = ()
    again: Sequence[LaneState] = ()
    leaderless_ms: float | None = None
