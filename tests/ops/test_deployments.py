"""Units, manifests and scalers say what mesh understands; nothing of them is run here."""

from __future__ import annotations

import re
import shlex
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.mesh_commands import accept
from support.prometheus import OPS

from mesh.contract.lifecycle import PRIORITIES
from mesh.contract.subjects import Names, consumer_name
from mesh.settings.model import Settings

UNITS = {path.name: path for path in sorted((OPS / "systemd").glob("*.service"))}
MANIFESTS = {path.name: path for path in sorted((OPS / "kubernetes").glob("*.yaml"))}
SCALERS = {path.name: path for path in sorted((OPS / "keda").glob("*.yaml"))}


def unit(path: Path) -> ConfigParser:
    """Read a unit."""
    read = ConfigParser(interpolation=None, strict=True)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(path.read_text(encoding="utf-8"))
    return read


def documents(path: Path) -> list[dict[str, Any]]:
    """Read the documents of a manifest."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def containers(path: Path) -> list[dict[str, Any]]:
    """The containers of a manifest."""
    return [
        container
        for document in documents(path)
        if "template" in document["spec"]
        for container in document["spec"]["template"]["spec"]["containers"]
    ]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_mesh_has(name: str) -> None:
    """Its options are known, and it is given longer to stop than a drain takes."""
    service = unit(UNITS[name])["Service"]
    program, *words = shlex.split(service["ExecStart"])

    assert program == "/opt/mesh/bin/mesh"
    accept(words)
    assert service["KillSignal"] == "SIGTERM"
    assert service["Restart"] == "always"
    drains_s = re.search(r"--drain-timeout (\d+)s", service["ExecStart"])
    assert int(service["TimeoutStopSec"]) > int(drains_s[1] if drains_s else 0) + 5


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_pod_starts_a_command_that_mesh_has(name: str) -> None:
    """Each container's arguments are known, and it is told where NATS is."""
    found = containers(MANIFESTS[name])

    assert found
    for container in found:
        accept(container["args"])
        assert {"name": "MESH_URL", "value": "nats://nats:4222"} in container["env"]


@pytest.mark.parametrize("name", ["exporter.yaml", "worker.yaml"])
def test_a_pod_is_asked_where_it_answers(name: str) -> None:
    """Probes and Prometheus go to the port that is served, which all of the pod can reach."""
    pod = documents(MANIFESTS[name])[0]
    annotations = pod["spec"]["template"]["metadata"]["annotations"]
    for container in containers(MANIFESTS[name]):
        (port,) = [one["containerPort"] for one in container["ports"]]
        words: list[str] = container["args"]
        probes = [probe for key, probe in container.items() if key.endswith("Probe")]

        assert str(port) in words
        assert "0.0.0.0" in words  # noqa: S104 - a pod's own network
        assert {probe["httpGet"]["port"] for probe in probes} == {"metrics"}
        assert {probe["httpGet"]["path"] for probe in probes} <= {"/livez", "/readyz"}
        assert annotations["prometheus.io/port"] == str(port)


def test_a_worker_may_drain_before_it_is_killed() -> None:
    """Kubernetes waits longer than the drain timeout."""
    pod = documents(MANIFESTS["worker.yaml"])[0]["spec"]["template"]["spec"]
    words: list[str] = pod["containers"][0]["args"]
    drain = words[words.index("--drain-timeout") + 1]

    assert pod["terminationGracePeriodSeconds"] > int(drain.removesuffix("s")) + 5


@pytest.mark.parametrize("name", SCALERS)
def test_a_scaler_scales_the_workers(name: str) -> None:
    """Its target is the deployment of this folder."""
    (scaler,) = documents(SCALERS[name])
    (deployment,) = documents(MANIFESTS["worker.yaml"])

    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["spec"]["minReplicaCount"] <= scaler["spec"]["maxReplicaCount"]


def test_the_scaler_by_jetstream_names_consumers_that_setup_creates() -> None:
    """A consumer that is missing would make it scale to the maximum."""
    (scaler,) = documents(SCALERS["by-jetstream.yaml"])
    lanes = [trigger["metadata"] for trigger in scaler["spec"]["triggers"]]

    assert {lane["stream"] for lane in lanes} == {Names(Settings().namespace).jobs_stream}
    assert {lane["consumer"] for lane in lanes} == {
        consumer_name("mail", priority) for priority in PRIORITIES
    }


def test_the_collector_scrapes_where_workers_and_exporter_serve() -> None:
    """Its pipelines use what is defined, and its targets are those of Prometheus."""
    collector: dict[str, Any] = yaml.safe_load((OPS / "otel/collector.yml").read_text())
    jobs = collector["receivers"]["prometheus"]["config"]["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}

    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= collector[kind].keys()
    assert targets == {"mesh-worker": ["127.0.0.1:9464"], "mesh-exporter": ["127.0.0.1:9465"]}
