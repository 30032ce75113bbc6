"""``mesh worker --metrics-port``: what Prometheus and probes are told by real processes."""

from __future__ import annotations

import re

from support.command_line import LIMIT_S, CommandLine, Program
from support.scraping import fetch, sample
from support.waiting import until_sync


def addresses(program: Program, count: int = 1) -> list[str]:
    """Where its processes serve their metrics, once all of them are ready."""
    program.says("worker ready", count)
    return re.findall(r"address=(http://\S+)", program.log)


def test_a_worker_serves_its_metrics_and_probes(cli: CommandLine, app: str) -> None:
    """A job that ran is counted, and the worker says that it is alive and ready."""
    cli("setup", app)
    with cli.start("worker", app, "--metrics-port", "0") as worker:
        (address,) = addresses(worker)
        cli("enqueue", "add", "--json", "[1, 2]", "--wait")
        _, page = fetch(f"{address}/metrics")

        assert sample(page, "mesh_jobs_finished_total", task="add", outcome="succeeded") == 1
        assert sample(page, "mesh_worker_ready") == 1
        assert sample(page, "process_resident_memory_bytes")
        assert fetch(f"{address}/livez") == (200, "ok\n")
        assert fetch(f"{address}/readyz") == (200, "ok\n")

        assert worker.stop() == 0


def test_each_process_of_a_supervisor_serves_its_own(cli: CommandLine, app: str) -> None:
    """They do not fight for one port, and one that is killed has a successor that serves."""
    cli("setup", app)
    with cli.start("worker", app, "--metrics-port", "0", "--processes", "2") as program:
        before = addresses(program, 2)
        assert len(set(before)) == 2
        program.workers()[0].kill()
        after = addresses(program, 3)

        assert fetch(f"{after[-1]}/readyz")[0] == 200


def test_a_worker_that_lost_its_server_is_alive_and_not_ready(
    cli: CommandLine, app: str
) -> None:
    """Starting it anew would not help; sending it work would not either."""
    cli.environment |= {"MESH_PING_INTERVAL": "1s"}
    with cli.start("server", "--port", "0", "--store-dir", str(cli.folder / "nats")) as server:
        server.says("nats://")
        found = re.search(r"nats://[\d.:]+", server.log)
        assert found is not None
        cli.environment["MESH_URL"] = found[0]
        cli("setup", app)
        with cli.start("worker", app, "--metrics-port", "0") as worker:
            (address,) = addresses(worker)
            server.stop()

            until_sync(lambda: fetch(f"{address}/readyz")[0] == 503, "it is not ready", LIMIT_S)
            assert "cannot be reached" in fetch(f"{address}/readyz")[1]
            assert fetch(f"{address}/livez") == (200, "ok\n")


def test_the_processes_of_a_supervisor_take_ports_in_a_row() -> None:
    """Each is told its number, and adds it to the port."""
    from mesh.cli.processes import WorkerOptions, supervisor
    from mesh.cli.target import Target

    command = supervisor("jobs:app", Target(), WorkerOptions(metrics_port=9464))._command(5, 3)

    words = " ".join(command)
    assert "--place 3" in words
    assert "--metrics-port 9464" in words


def test_the_exporter_serves_what_the_queues_hold(cli: CommandLine, app: str) -> None:
    """Until it is told to stop it answers with the depth of each queue."""
    cli("setup", app)
    cli("enqueue", "add", "--json", "[1, 2]")
    with cli.start("exporter", "--port", "0", "--every", "100ms") as exporter:
        exporter.says("serving metrics")
        (address,) = re.findall(r"address=(http://\S+)", exporter.log)

        def depth() -> float | None:
            return sample(fetch(f"{address}/metrics")[1], "mesh_queue_depth", priority="normal")

        until_sync(lambda: depth() == 1, "the depth is told", LIMIT_S)
        assert fetch(f"{address}/readyz")[0] == 200
        assert exporter.stop() == 0
