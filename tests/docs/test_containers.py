"""Dockerfile and docker-compose.yml agree with the code; nothing is built, no Docker is needed."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from compose_spec import PyCompose

from cdc.daemon.app import FLUSH_WITHIN_S
from cdc.message.signing_keys import parse_secret
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.schema.migrations import SUPPORTED
from cdc.settings import Settings, describe
from cdc.telemetry.otel import CLOSE_WITHIN_S
from tests.docs.pages import page
from tests.docs.running import Terminal, as_account
from tests.docs.test_commands import accepted
from tests.house.files import TOP

COMPOSE = page("docker-compose.yml")
DOCKERFILE = page("Dockerfile")
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load(COMPOSE)
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = compose["services"]
    assert list(found) == ["postgres", "migrate", "daemon", "api", "receiver"]
    return dict(found)


def commands(words: list[str]) -> Iterator[list[str]]:
    """The `cdc` commands of a service's command, taken out of a shell if it is one."""
    if words[0] == "sh":
        assert words[1] == "-c"
        for line in words[2].split("&&"):
            yield shlex.split(line)
    else:
        yield words


def test_it_is_what_the_compose_specification_says() -> None:
    PyCompose.from_yaml(COMPOSE).validate()
    with pytest.raises(ValueError, match="raed_only"):
        PyCompose.from_yaml(COMPOSE.replace("read_only", "raed_only", 1))


def test_commands_are_accepted(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for words in commands(service.get("command", ["cdc", "run"])):
            assert words[0] == "cdc"
            accepted(words[1:])


def test_commands_in_comments_are_accepted() -> None:
    for text in (COMPOSE, DOCKERFILE):
        comments = re.sub(r"\\\n#", "", "\n".join(re.findall(r"^#.*$", text, re.MULTILINE)))
        lines = re.findall(r"^#   docker .*? (cdc [^#\n]+)$", comments, re.MULTILINE)
        assert lines
        for line in lines:
            accepted(shlex.split(line)[1:])


def test_environment_is_made_of_settings(services: dict[str, dict[str, Any]]) -> None:
    known = {key.env for key in describe()}
    for service in services.values():
        given = {k: v for k, v in service.get("environment", {}).items() if k.startswith("CDC_")}
        assert not set(given) - known
        assert all(isinstance(value, str) for value in given.values())
        # Accepted by the settings themselves, too.
        Settings.model_validate({k.removeprefix("CDC_").lower(): v for k, v in given.items()})


def test_daemon_and_commands_may_dial_the_receiver_and_no_more(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    (pool,) = compose["networks"]["default"]["ipam"]["config"]
    subnet = ipaddress.ip_network(pool["subnet"])
    assert subnet.prefixlen >= 24
    for name in ("migrate", "daemon", "api"):
        assert services[name]["environment"]["CDC_ALLOWED_NETWORKS"] == str(subnet)


def test_services_wait_for_what_they_need(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert name in services
            wanted = how["condition"]
            assert wanted != "service_healthy" or "healthcheck" in services[name]
    assert services["daemon"]["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully"
    }


def test_health_is_asked_where_it_is_served(services: dict[str, dict[str, Any]]) -> None:
    daemon, receiver = services["daemon"], services["receiver"]
    port = daemon["environment"]["CDC_HTTP_PORT"]
    assert f"http://127.0.0.1:{port}/readyz" in daemon["healthcheck"]["test"][-1]
    port = receiver["command"][receiver["command"].index("--port") + 1]
    assert f"('127.0.0.1', {port})" in receiver["healthcheck"]["test"][-1]
    for service in (daemon, receiver):
        compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_stopping_leaves_time_enough(services: dict[str, dict[str, Any]]) -> None:
    seconds = int(services["daemon"]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings().stop_grace + FLUSH_WITHIN_S + CLOSE_WITHIN_S


def test_nothing_is_reachable_from_outside(services: dict[str, dict[str, Any]]) -> None:
    """The API is, from the host itself."""
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"api": ["127.0.0.1:8080:8080"]}


def test_ours_need_no_rights(services: dict[str, dict[str, Any]]) -> None:
    for name in ("migrate", "daemon", "api", "receiver"):
        assert services[name]["read_only"] is True
    for name in ("daemon", "api", "receiver"):
        assert services[name]["cap_drop"] == ["ALL"]
    assert "privileged" not in COMPOSE


def test_the_receiver_knows_the_secret_of_the_first_lines(
    services: dict[str, dict[str, Any]],
) -> None:
    command = services["receiver"]["command"]
    secret = command[command.index("--secret") + 1]
    parse_secret(secret)
    assert f"--secret {secret}\n" in COMPOSE


def test_the_database_is_one_that_is_supported(services: dict[str, dict[str, Any]]) -> None:
    image, _, tag = services["postgres"]["image"].partition(":")
    assert image == "postgres"
    assert int(tag) >= SUPPORTED
    # Since 18 the image keeps its data one folder higher than before.
    assert "data:/var/lib/postgresql" in services["postgres"]["volumes"]


def test_the_databases_first_files_make_the_accounts_used(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    """Runs them in their order on a server of its own, then migrates, then starts the checks of a
    daemon with its account."""
    files = {}
    for volume in services["postgres"]["volumes"]:
        source, target, *_ = volume.split(":")
        if target.startswith("/docker-entrypoint-initdb.d/"):
            files[target] = (TOP / source).read_text("utf-8")
    for config in services["postgres"]["configs"]:
        files[config["target"]] = compose["configs"][config["source"]]["content"]
    assert len(files) == 3

    with EmbeddedPostgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("create database suite")
        url = server.url("suite")
        with psycopg.connect(url, autocommit=True) as conn:
            for target in sorted(files):
                conn.execute(files[target].encode())
        here = Terminal(url)
        for words in commands(services["migrate"]["command"]):
            here.run(*words[1:])
        address = services["daemon"]["environment"]["CDC_DATABASE_URL"]
        user, password = re.findall(r"//([^:]+):([^@]+)@", address)[0]
        said = Terminal(as_account(url, user, password)).run("status", fails=True)
        assert "no daemon runs" in said


# -- the image ------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(word.upper(), rest.strip()) for word, _, rest in map(_cut, text.splitlines()) if word]


def _cut(line: str) -> tuple[str, str, str]:
    return line.strip().partition(" ")


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint's wheel is for Linux on x86-64")
def test_hadolint_accepts_the_dockerfile() -> None:
    done = subprocess.run([HADOLINT, TOP / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_does_not_run_as_root() -> None:
    (user,) = [rest for word, rest in last_stage() if word == "USER"]
    assert re.fullmatch(r"[1-9][0-9]+:[1-9][0-9]+", user)


def test_the_last_stage_installs_nothing() -> None:
    words = [word for word, _ in last_stage()]
    assert "RUN" not in words
    assert [rest for word, rest in last_stage() if word == "COPY"] == [
        "--from=build /opt/cdc /opt/cdc"
    ]
    assert all("-slim" in rest for word, rest in instructions() if word == "FROM")


def test_the_image_has_a_python_that_is_supported() -> None:
    (version,) = [rest for word, rest in instructions() if word == "ARG"]
    minor = re.fullmatch(r"PYTHON=3\.(\d+)", version)
    wanted = re.search(r'requires-python = ">=3\.(\d+)"', page("pyproject.toml"))
    assert minor
    assert wanted
    assert int(minor[1]) >= int(wanted[1])


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = [line for line in page(".dockerignore").splitlines() if line and line[0] != "#"]
    for word, rest in instructions():
        if word != "COPY" or rest.startswith("--from"):
            continue
        *sources, _ = rest.split()
        for source in sources:
            assert (TOP / source).exists()
            verdict = [rule for rule in ignored if fnmatch.fnmatch(source, rule.lstrip("!"))][-1]
            assert verdict.startswith("!"), f"{source} does not reach the build"


def test_what_the_build_needs_is_copied() -> None:
    """Files that pyproject.toml names for the wheel."""
    copied = " ".join(rest for word, rest in instructions() if word == "COPY")
    assert {"pyproject.toml", "README.md", "constraints.txt"} <= set(copied.split())
    assert "./cdc" in copied
    assert "./sql" in copied
    assert "./docs" in copied


def test_the_image_runs_the_daemon() -> None:
    (command,) = [rest for word, rest in last_stage() if word == "CMD"]
    assert command == '["cdc", "run"]'
    assert ("STOPSIGNAL", "SIGTERM") in last_stage()
