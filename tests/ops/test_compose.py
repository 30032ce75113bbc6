"""docker-compose.yml and its Dockerfile hold together, and its commands run; without an engine.

The last test starts what each service starts, as programs of this machine, in the order that
the file asks for.
"""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import LIMIT_S, CommandLine
from support.mesh_commands import accept
from support.prometheus import find
from support.scraping import fetch
from support.waiting import until_sync

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
WITH_APP = [name for name, one in OURS.items() if any(".py:" in w for w in one["command"])]
DOCKERFILE = ROOT / "ops/docker/Dockerfile"


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """List the (source, target) pairs of a service."""
    volumes: list[str] = service.get("volumes", [])
    return [(parts[0], parts[1]) for parts in (volume.split(":") for volume in volumes)]


def test_the_file_has_all_that_is_needed_and_what_watches_it() -> None:
    """The server, its streams, a worker, a scheduler, an exporter, Prometheus and Grafana."""
    needed = {"nats", "setup", "worker", "scheduler", "archive"}
    assert SERVICES.keys() >= needed | {"exporter", "prometheus", "grafana"}


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_that_mesh_has(name: str) -> None:
    """The command line takes the command as it stands."""
    accept(OURS[name]["command"])


@pytest.mark.parametrize("name", WITH_APP)
def test_a_service_names_an_app_that_exists(name: str) -> None:
    """The app in each command is a file of the repository and a name that the file binds."""
    command: list[str] = OURS[name]["command"]
    file, _, variable = next(word for word in command if ".py:" in word).partition(":")

    source = (ROOT / file).read_text(encoding="utf-8")

    assert re.search(rf"^{variable}\b.* = ", source, re.MULTILINE)


@pytest.mark.parametrize("name", OURS)
def test_a_service_knows_where_nats_is(name: str) -> None:
    """Every mesh process has MESH_URL, and it leads to the service called nats."""
    assert OURS[name]["environment"]["MESH_URL"] == "nats://nats:4222"


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_built_from_files_that_exist(name: str) -> None:
    """The Dockerfile named in each build exists."""
    build: dict[str, str] = OURS[name]["build"]

    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_exists(name: str) -> None:
    """A mounted path is in the repository, and a mounted volume is declared."""
    sources = [source for source, _ in mounts(SERVICES[name])]

    missing = [
        source
        for source in sources
        if not (ROOT / source).exists() and source not in COMPOSE["volumes"]
    ]

    assert missing == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_of_this_file(name: str) -> None:
    """Each dependency is a service here, and one that must be healthy has a health check."""
    depends_on: dict[str, dict[str, str]] = SERVICES[name].get("depends_on", {})

    assert depends_on.keys() <= SERVICES.keys() - {name}
    assert all(
        "healthcheck" in SERVICES[other]
        for other, how in depends_on.items()
        if how["condition"] == "service_healthy"
    )


def test_the_server_runs_the_configuration_that_is_mounted() -> None:
    """The file that nats is told to read is one that is mounted into it."""
    nats = SERVICES["nats"]
    targets = {target: source for source, target in mounts(nats)}

    read: str = nats["command"][nats["command"].index("--config") + 1]

    assert targets[read] == "./ops/nats/single.conf"


def test_the_data_of_the_server_outlives_its_container() -> None:
    """The store_dir of the configuration is a named volume."""
    conf = (ROOT / "ops/nats/single.conf").read_text(encoding="utf-8")
    store = re.search(r"^\s*store_dir: (\S+)$", conf, re.MULTILINE)
    targets = {target: source for source, target in mounts(SERVICES["nats"])}

    assert store is not None
    assert targets[store[1]] in COMPOSE["volumes"]


def test_the_archive_outlives_its_container() -> None:
    """Its database lies in a named volume that the image's user may write to."""
    service = SERVICES["archive"]
    targets = {target: source for source, target in mounts(service)}
    folder = str(Path(service["environment"]["MESH_ARCHIVE_URL"]).parent)

    assert targets[folder] in COMPOSE["volumes"]
    assert f"--owner=mesh {folder}" in DOCKERFILE.read_text(encoding="utf-8")


def test_ports_are_open_on_this_machine_only() -> None:
    """The server asks for no login, so no port is published to the network."""
    ports: list[str] = [
        port for service in SERVICES.values() for port in service.get("ports", [])
    ]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_pinned() -> None:
    """Every image has a tag with a version, and none is latest."""
    composed: list[str] = [service["image"] for n, service in SERVICES.items() if n not in OURS]
    based = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text("utf-8"), re.MULTILINE)

    assert all(re.search(r":v?\d+\.\d+", image) for image in [*composed, *based])


def test_the_image_runs_mesh_as_an_ordinary_user() -> None:
    """The entry point is mesh, the user is not root, and what is copied exists."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)

    assert 'ENTRYPOINT ["mesh"]' in text
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)
    assert [f for line in copied for f in line.split() if not (ROOT / f).exists()] == []


def test_the_builder_is_sent_all_that_is_copied() -> None:
    """What the Dockerfile copies is not held back by its ignore file."""
    kept = (
        DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    )
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE
    )

    assert {f"!{f}" for line in copied for f in line.split()} <= set(kept)


def test_prometheus_is_given_the_files_that_it_reads() -> None:
    """Its configuration and rules are mounted where it looks, and its targets are services."""
    targets = {target: source for source, target in mounts(SERVICES["prometheus"])}
    config: dict[str, Any] = yaml.safe_load(
        (ROOT / "ops/prometheus/prometheus.yml").read_text()
    )
    scraped = {
        str(name).partition(":")[0]
        for job in config["scrape_configs"]
        for way in (*job.get("static_configs", []), *job.get("dns_sd_configs", []))
        for name in (*way.get("targets", []), *way.get("names", []))
    }

    read = next(w for w in SERVICES["prometheus"]["command"] if w.startswith("--config.file="))
    assert targets[read.partition("=")[2]] == "./ops/prometheus/prometheus.yml"
    assert targets["/etc/prometheus/rules"] == "./ops/prometheus/rules"
    assert config["rule_files"] == ["rules/*.yml"]
    assert scraped == {"worker", "exporter"}


def test_prometheus_takes_its_options() -> None:
    """The real program knows each flag that it is given."""
    done = subprocess.run([find("prometheus"), "--help"], capture_output=True, check=False)
    flags = {word.partition("=")[0] for word in SERVICES["prometheus"]["command"]}

    assert {flag for flag in flags if flag.encode() not in done.stdout + done.stderr} == set()


def here(name: str) -> list[str]:
    """A service's command with the paths of this machine, and any free port."""
    command: list[str] = OURS[name]["command"]
    words = [str(ROOT / word) if ".py:" in word else word for word in command]
    ports = {word for option, word in pairwise(words) if option.endswith("port")}
    return ["0" if word in ports else word for word in words]


def archived(cli: CommandLine, database: str) -> str:
    """What an archive says that it holds."""
    with cli.start("archive", "query", "--database", database) as asked:
        asked.ends()
        return asked.log


def test_a_job_runs_when_each_service_is_started_by_itself(cli: CommandLine) -> None:
    """What the services start, as the file has it, runs a job, keeps it and tells of it."""
    database = str(cli.folder / "archive.db")
    with cli.start(*here("setup")) as setup:
        assert setup.ends() == 0
    with (
        cli.start(*here("worker")) as worker,
        cli.start(*here("exporter")) as exporter,
        cli.start(*here("scheduler")) as scheduler,
        cli.start(*here("archive"), MESH_ARCHIVE_URL=database) as archive,
    ):
        worker.says("worker ready")
        exporter.says("serving metrics")
        scheduler.says("scheduler ready")
        cli("enqueue", "greet", "--json", '["Ada"]', "--job-id", "ada", "--wait")
        until_sync(lambda: "ada" in archived(cli, database), "it is archived", LIMIT_S)

        for program in (worker, exporter):
            port = re.findall(r"address=http://0.0.0.0:(\d+)", program.log)[0]
            assert "mesh_build_info" in fetch(f"http://127.0.0.1:{port}/metrics")[1]
            until_sync(
                lambda port=port: fetch(f"http://127.0.0.1:{port}/readyz")[0] == 200,
                "it is ready",
                LIMIT_S,
            )
        for program in (worker, exporter, scheduler, archive):
            assert program.stop() == 0
