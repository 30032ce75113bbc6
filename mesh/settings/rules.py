"""What must hold between several settings, and for addresses; pure, one small rule each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from mesh.settings.addresses import address_fault
from mesh.settings.model import CredentialsSettings, Settings, TlsSettings

DEFAULT_ORIGIN = "default"


class Breach(Struct, frozen=True):
    """One rule that does not hold.

    Attributes:
        keys: The dotted keys it is about.
        message: What is wrong and what must hold.
    """

    keys: tuple[str, ...]
    message: str


def breaches(settings: Settings) -> Iterator[Breach]:
    """Every rule that these settings break."""
    yield from _about_addresses(settings)
    yield from _about_credentials(settings.credentials)
    yield from _about_tls(settings.tls)
    worker, defaults = settings.worker, settings.job_defaults
    if worker.heartbeat_s * 2 > worker.ack_wait_s:
        yield Breach(
            ("worker.heartbeat_s", "worker.ack_wait_s"),
            f"worker.heartbeat_s ({worker.heartbeat_s:g}) must be at most half of "
            f"worker.ack_wait_s ({worker.ack_wait_s:g}), so that a late heartbeat loses no job",
        )
    if defaults.retry_delay_s > defaults.retry_max_delay_s:
        yield Breach(
            ("job_defaults.retry_delay_s", "job_defaults.retry_max_delay_s"),
            f"job_defaults.retry_delay_s ({defaults.retry_delay_s:g}) must not be above "
            f"job_defaults.retry_max_delay_s ({defaults.retry_max_delay_s:g})",
        )


def describe_breach(breach: Breach, origins: Mapping[str, str]) -> str:
    """The breach as a fault that names the sources of the values, when any is not a default."""
    sources = dict.fromkeys(
        origin
        for key in breach.keys
        if (origin := origins.get(key, DEFAULT_ORIGIN)) != DEFAULT_ORIGIN
    )
    return f"{', '.join(sources)}: {breach.message}" if sources else breach.message


def _about_addresses(settings: Settings) -> Iterator[Breach]:
    if not settings.servers:
        yield Breach(("url",), "url names no server; write it like nats://host:4222")
    for address in settings.servers:
        if fault := address_fault(address):
            yield Breach(("url",), f"url: {fault}")


def _about_credentials(credentials: CredentialsSettings) -> Iterator[Breach]:
    ways = [
        f"credentials.{name}"
        for name in ("user", "token", "credentials_file", "nkey_file")
        if getattr(credentials, name) is not None
    ]
    if len(ways) > 1:
        yield Breach(
            tuple(ways), f"{' and '.join(ways)} are both given; keep one way to log in"
        )
    if credentials.password is not None and credentials.user is None:
        yield Breach(
            ("credentials.password",),
            "credentials.password is given without credentials.user; give both",
        )


def _about_tls(tls: TlsSettings) -> Iterator[Breach]:
    if (tls.cert_file is None) != (tls.key_file is None):
        yield Breach(
            ("tls.cert_file", "tls.key_file"),
            "tls.cert_file and tls.key_file belong together; give both or none",
        )
