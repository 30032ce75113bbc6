"""Where settings come from: the file that is found, the variables, and names nobody knows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mesh.errors import SettingsError
from mesh.settings.loading import load, load_with_origins
from mesh.settings.sources import find_file, read_environment, read_mapping

TOML = 'namespace = "toml"\n'
PROJECT = '[tool.mesh]\nnamespace = "project"\n'
YAML = "namespace: yaml\nworker:\n  queues: [a, b]\n"


def test_the_first_file_in_the_fixed_order_is_read(tmp_path: Path) -> None:
    """mesh.toml comes before pyproject.toml, and that before YAML."""
    (tmp_path / "mesh.yml").write_text(YAML)
    assert load(environ={}, directory=tmp_path).worker.queues == ("a", "b")

    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert load(environ={}, directory=tmp_path).namespace == "project"

    (tmp_path / "mesh.toml").write_text(TOML)
    assert load(environ={}, directory=tmp_path).namespace == "toml"


def test_a_project_file_without_our_table_is_passed_over(tmp_path: Path) -> None:
    """Most projects have a pyproject.toml that says nothing of mesh."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    assert find_file(tmp_path) is None


def test_an_explicit_file_beats_the_variable_and_the_search(tmp_path: Path) -> None:
    """The file argument wins over MESH_CONFIG, which wins over what lies around."""
    (tmp_path / "mesh.toml").write_text(TOML)
    (tmp_path / "named.toml").write_text('namespace = "named"\n')
    (tmp_path / "explicit.toml").write_text('namespace = "explicit"\n')
    environ = {"MESH_CONFIG": str(tmp_path / "named.toml")}

    named = load(environ=environ, directory=tmp_path)
    explicit = load(environ=environ, directory=tmp_path, file=tmp_path / "explicit.toml")

    assert (named.namespace, explicit.namespace) == ("named", "explicit")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("mesh.toml", "namespace =", "mesh.toml is not valid TOML"),
        ("pyproject.toml", "[tool.mesh", "pyproject.toml is not valid TOML"),
        ("mesh.yaml", "a: [1", "mesh.yaml is not valid YAML in line"),
        ("mesh.yaml", "- a\n- b\n", "mesh.yaml holds no settings"),
        ("mesh.toml", "\xff", "mesh.toml is not valid TOML"),
    ],
)
def test_a_broken_file_is_a_fault(name: str, content: str, fault: str, tmp_path: Path) -> None:
    """A file that cannot be understood is named with the reason."""
    (tmp_path / name).write_text(content, encoding="latin-1")

    with pytest.raises(SettingsError, match=fault):
        load(environ={}, directory=tmp_path)


def test_a_broken_yaml_file_keeps_its_secrets(tmp_path: Path) -> None:
    """The fault of a YAML file does not quote its lines."""
    (tmp_path / "mesh.yaml").write_text("credentials: {password: hunter2, : }}\n")

    with pytest.raises(SettingsError) as error:
        load(environ={}, directory=tmp_path)

    assert "hunter2" not in str(error.value)


def test_a_file_that_is_not_there_is_a_fault_that_names_who_asked(tmp_path: Path) -> None:
    """A named file must exist; only the search may come back empty."""
    missing = tmp_path / "missing.toml"

    with pytest.raises(SettingsError, match=f"^.*\n  - {missing} cannot be read: No such file"):
        load(environ={}, file=missing)
    with pytest.raises(SettingsError, match=f"MESH_CONFIG={missing} cannot be read"):
        load(environ={"MESH_CONFIG": str(missing)})


def test_a_named_project_file_must_have_our_table(tmp_path: Path) -> None:
    """Pointing at a pyproject.toml without [tool.mesh] is a mistake worth telling."""
    project = tmp_path / "pyproject.toml"
    project.write_text("")

    with pytest.raises(SettingsError, match=r"has no table \[tool.mesh\]"):
        load(environ={}, file=project)


def test_yaml_without_its_library_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML is optional, and its absence is told kindly."""
    (tmp_path / "mesh.yaml").write_text(YAML)
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(SettingsError, match=r'pip install "natsmesh\[yaml\]"'):
        load(environ={}, directory=tmp_path)


def test_an_empty_yaml_file_or_section_gives_nothing(tmp_path: Path) -> None:
    """A file whose lines are all commented out is not an error."""
    (tmp_path / "mesh.yaml").write_text("worker:\n# concurrency: 5\n")
    assert load_with_origins(environ={}, directory=tmp_path).origins == {}

    (tmp_path / "mesh.yaml").write_text("# nothing\n")
    assert load_with_origins(environ={}, directory=tmp_path).origins == {}


def test_a_relative_path_in_a_file_is_relative_to_that_file(tmp_path: Path) -> None:
    """Certificates may lie beside the settings that name them."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "mesh.toml").write_text('[tls]\nca_file = "ca.pem"\n')

    settings = load(environ={}, file=tmp_path / "mesh.toml")

    assert settings.tls.ca_file == str(tmp_path / "ca.pem")


def test_a_path_that_leads_nowhere_is_a_fault(tmp_path: Path) -> None:
    """A missing certificate is told at the door, not at the first connection."""
    with pytest.raises(SettingsError, match=r"MESH_TLS_CA_FILE names .* there is no such file"):
        load(environ={"MESH_TLS_CA_FILE": str(tmp_path / "ca.pem")}, directory=tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("MESH_URL", "nats://a", "url"),
        ("MESH_NATS_URL", "nats://a", "url"),
        ("MESH_WORKER_CONCURRENCY", "5", "worker.concurrency"),
        ("MESH_WORKER_COUNT", "5", "worker.processes"),
        ("MESH_LOG_LEVEL", "debug", "log_level"),
        ("MESH_TASK_TIMEOUT", "5m", "job_defaults.timeout_s"),
        ("MESH_JOB_DEFAULTS_TIMEOUT", "5m", "job_defaults.timeout_s"),
        ("MESH_JOB_DEFAULTS_TIMEOUT_S", "5", "job_defaults.timeout_s"),
        ("MESH_RESULT_TTL", "1d", "job_defaults.result_ttl_s"),
    ],
)
def test_each_variable_gives_its_setting(variable: str, value: str, key: str) -> None:
    """Variables follow the dotted keys, and the old short names go on working."""
    reading = read_environment({variable: value})

    assert [given.key.name for given in reading.given] == [key]


@pytest.mark.parametrize(
    "variable",
    [
        "MESH_CONFIG",
        "MESH_TEST_SEED",
        "MESH_FAILPOINT",
        "MESH_SERVICE_HOST",
        "MESH_DASHBOARD_SERVICE_PORT_HTTP",
        "MESH_DASHBOARD_PORT_8080_TCP_ADDR",
        "MESH_PORT",
        "MESHED",
    ],
)
def test_variables_of_others_are_left_alone(variable: str) -> None:
    """Reserved names, and what Kubernetes adds for a service named mesh, are no settings."""
    reading = read_environment({variable: "x"})

    assert (reading.given, reading.faults) == ((), ())


def test_an_empty_variable_counts_as_not_given() -> None:
    """Compose files pass variables on as empty texts."""
    assert read_environment({"MESH_URL": " ", "MESH_TYPO": ""}).faults == ()


def test_two_names_for_one_setting_must_agree() -> None:
    """Two variables with different values are a fault, with the same value none."""
    clash = read_environment({"MESH_URL": "nats://a", "MESH_NATS_URL": "nats://b"})
    peace = read_environment({"MESH_URL": "nats://a", "MESH_NATS_URL": "nats://a"})

    assert clash.faults == ("MESH_NATS_URL and MESH_URL both give url; keep one",)
    assert peace.faults == ()


@pytest.mark.parametrize(
    ("mapping", "fault"),
    [
        ({"concurrency": 5}, "concurrency is not a setting; did you mean worker.concurrency?"),
        ({"worker": {"que": 1}}, "worker.que is not a setting; did you mean worker.queues?"),
        ({"workr": {"loop": 1}}, "workr is not a setting; did you mean worker?"),
        ({"zzzz": 1}, "zzzz is not a setting"),
        (
            {"worker": "ten"},
            "worker is a section, not a value; give its keys with their values",
        ),
        ({"worker": {"ack_wait": 1, "ack_wait_s": 1}}, "worker.ack_wait_s is given twice"),
    ],
)
def test_a_wrong_key_is_answered_with_the_nearest_known_one(
    mapping: dict[str, object], fault: str
) -> None:
    """Typing mistakes and wrong places lead to the right key."""
    reading = read_mapping(mapping, "arguments")

    assert reading.faults[0].startswith(f"arguments: {fault}")


def test_nested_and_dotted_keys_mean_the_same() -> None:
    """Programs may write either."""
    nested = read_mapping({"worker": {"concurrency": 5}}, "arguments")
    dotted = read_mapping({"worker.concurrency": 5}, "arguments")

    assert nested == dotted
