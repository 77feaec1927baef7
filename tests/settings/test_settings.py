"""Settings: what comes from where, and that every mistake is named."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdc.errors import ConfigError
from cdc.settings import Settings, describe, load, redact_dsn, values
from tests.cli.command import Command

URL = "postgresql://cdc:geheim@db.example/suite"


@pytest.fixture(autouse=True)
def database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_DATABASE_URL", URL)


def written(folder: Path, text: str) -> Path:
    path = folder / "cdc.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(config_path: Path | None = None) -> str:
    """What a person reads, message and hint."""
    with pytest.raises(ConfigError) as refused:
        load(config_path)
    return f"{refused.value.message}\n{refused.value.hint}"


def test_environment_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = written(tmp_path, "window = 7\nlog_days = 3\n")
    monkeypatch.setenv("CDC_WINDOW", "8")
    settings = load(path)
    assert (settings.window, settings.log_days, settings.held_days) == (8, 3, 14)
    assert settings.sources["window"] == "environment"
    assert settings.sources["log_days"] == "file"
    assert settings.sources["held_days"] == "default"
    assert settings.config_path == path


def test_the_environment_can_name_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CDC_CONFIG", f"{written(tmp_path, 'window = 7')}\n")
    assert load().window == 7


def test_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = written(tmp_path, 'allowed_networks = ["10.0.0.0/8"]\nretry_schedule = [1, 2.5]')
    assert load(path).retry_schedule == (1, 2.5)
    monkeypatch.setenv("CDC_ALLOWED_NETWORKS", "127.0.0.0/8, fd00::/8")
    assert load(path).allowed_networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'mapping = "suite.toml"')
    assert load(path).mapping == tmp_path / "suite.toml"


def test_so_is_every_path(tmp_path: Path) -> None:
    path = written(tmp_path, 'tls_ca_file = "ca.pem"\ntls_profiles = "/etc/cdc/tls"')
    found = load(path)
    assert found.tls_ca_file == tmp_path / "ca.pem"
    assert found.tls_profiles == Path("/etc/cdc/tls")


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_MAPPING", "")
    assert load().mapping is None


def test_a_base_url_ends_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BASE_URL", "https://suite.example/api/v3")
    assert load().base_url == "https://suite.example/api/v3/"


def test_only_commands_that_need_it_ask_for_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDC_DATABASE_URL")
    assert "CDC_DATABASE_URL" in refusal()
    assert load(need_database=False).database_url == ""


def test_variables_for_tests_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_TEST_ANYTHING", "1")
    load()


def test_built_directly_it_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_WINDOW", "8")
    assert Settings().window == 1000


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment others write, too: a warning, and an error where one is asked for."""
    monkeypatch.setenv("CDC_ALOW_HTTP", "true")
    settings = load()
    assert not settings.allow_http
    (warning,) = settings.left_out
    assert "CDC_ALOW_HTTP" in warning.message
    assert warning.hint == "Did you mean CDC_ALLOW_HTTP?"
    env = {"CDC_ALOW_HTTP": "true", "CDC_DATABASE_URL": URL}
    assert "warning: unknown setting: environment variable CDC_ALOW_HTTP" in (
        Command(env).good("config", "check").err
    )
    message = Command(env).refused("config", "check", "--strict")
    assert "CDC_ALOW_HTTP" in message
    assert "Did you mean CDC_ALLOW_HTTP?" in message


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "max_concurency = 3")
    message = refusal(path)
    assert f"max_concurency in {path}" in message
    assert "Did you mean max_concurrency?" in message


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CDC_WINDOW", "0", "whole number, 1 to 100000"),
        ("CDC_WINDOW", "many", "whole number, 1 to 100000"),
        ("CDC_LOG_DAYS", "31", "whole number, 1 to 30"),
        ("CDC_ATTEMPT_TIMEOUT", "nan", "number, 0.05 to 300"),
        ("CDC_ALLOW_HTTP", "perhaps", "true or false"),
        ("CDC_DOORBELL", "loud", "auto, on or off"),
        ("CDC_ALLOWED_NETWORKS", "10.0.0.1/8", "has host bits set"),
        ("CDC_RETRY_SCHEDULE", "5,0", "numbers with commas between, 0.001 to 2678400"),
        ("CDC_BASE_URL", "ftp://suite.example", "https://"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    message = refusal()
    assert variable in message
    assert value.split(",")[-1] in message
    assert expected in message


def test_all_invalid_values_are_reported_at_once(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "window = true\nhttp_port = 70000\nallowed_networks = [5]"))
    assert all(key in message for key in ("window = True", "http_port = 70000", "allowed_networks"))


def test_limits_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_CONNECT_TIMEOUT", "20")
    assert "connect_timeout (20) may not exceed attempt_timeout (15)" in refusal()


def test_a_file_that_is_missing_or_no_toml(tmp_path: Path) -> None:
    assert "nowhere.toml" in refusal(tmp_path / "nowhere.toml")
    assert "line 2" in refusal(written(tmp_path, "window = 1\n= 2"))


@pytest.mark.parametrize("address", ["postgresql+psycopg://u:geheim@h/d", "u:geheim", "host"])
def test_a_wrong_database_address_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("CDC_DATABASE_URL", address)
    message = refusal()
    assert "CDC_DATABASE_URL" in message
    assert "geheim" not in message


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load()
    shown = f"{settings!r} {settings} {values(settings)}"
    assert "geheim" not in shown
    assert "db.example" in shown
    redacted = redact_dsn("host=h password=geheim sslpassword=geheim")
    assert set(redacted.split()) == {"host=h", "password=***", "sslpassword=***"}
    monkeypatch.setenv("CDC_BASE_URL", "https://me:geheim@suite.example/")
    assert "geheim" not in refusal()


def test_every_key_is_described() -> None:
    for key in describe():
        assert key.env == f"CDC_{key.name.upper()}"
        assert key.type
        assert re.search(r"\.$|\.`$|`\.$", key.description), key.name


@pytest.mark.parametrize("password", ["geh@eim", "geh/eim", "geh/e@im", "geh@e/im"])
def test_a_password_that_reads_as_a_host_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("CDC_DATABASE_URL", f"postgresql://me:{password}@h/db")
    with pytest.raises(ConfigError, match="@ is written %40 and / is written %2F") as caught:
        load()
    assert not re.search("geh|im", caught.value.message)
    for fine in ("postgresql://me:geh%40e%2Fim@h/db", "postgresql:///db?host=/tmp&user=a@b"):
        monkeypatch.setenv("CDC_DATABASE_URL", fine)
        assert load().database_url == fine


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f'"{URL}"', "quotation mark"),
        (f"'{URL}'", "quotation mark"),
        (f"psql {URL}", "command line of psql"),
        (URL.replace("postgresql", "postgres+asyncpg"), "postgres+asyncpg://"),
        (URL.replace("postgresql", "postgresql+psycopg2"), "SQLAlchemy"),
        (f"jdbc:{URL}", "Java"),
        (URL.replace("postgresql", "mysql"), "mysql://"),
        (f"{URL}?sslmode=verify_full", "verify-full"),
    ],
)
def test_a_database_address_in_another_form(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("CDC_DATABASE_URL", address)
    message = refusal()
    assert "CDC_DATABASE_URL" in message
    assert said in message
    assert "geheim" not in message


def test_variables_of_kubernetes_services_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for Services named cdc, cdc-http and cdc-daemon; the one of cdc-http has our name."""
    at = "tcp://10.96.0.7:9464"
    for service in ("CDC", "CDC_HTTP", "CDC_DAEMON"):
        for name, value in {
            "SERVICE_HOST": "10.96.0.7",
            "SERVICE_PORT": "9464",
            "SERVICE_PORT_METRICS": "9464",
            "PORT": at,
            "PORT_9464_TCP": at,
            "PORT_9464_TCP_PROTO": "tcp",
            "PORT_9464_TCP_PORT": "9464",
            "PORT_9464_TCP_ADDR": "10.96.0.7",
            "PORT_53_UDP": "udp://10.96.0.7:53",
        }.items():
            monkeypatch.setenv(f"{service}_{name}", value)
    settings = load()
    assert settings.http_port is None
    (warning,) = settings.left_out
    assert "Kubernetes" in warning.message
    assert not warning.unknown
    monkeypatch.setenv("CDC_HTTP_PORT", "9464")
    assert load().http_port == 9464


def test_a_port_that_is_no_services_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_HTTPS_PORT", "9464")
    (warning,) = load().left_out
    assert (warning.unknown, warning.hint) == (True, "Did you mean CDC_HTTP_PORT?")


@pytest.mark.parametrize("before", ["", " \t"])
@pytest.mark.parametrize("after", ["\n", "\r\n", "  "])
def test_white_space_around_a_value_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str, after: str
) -> None:
    given = {
        "database_url": (URL, URL),
        "base_url": ("https://suite.example/api/", "https://suite.example/api/"),
        "proxy": ("http://me:pw@proxy:3128", "http://me:pw@proxy:3128"),
        "http_host": ("::1", "::1"),
        "mapping": ("/etc/cdc/suite.toml", Path("/etc/cdc/suite.toml")),
        "doorbell": ("off", "off"),
        "window": ("7", 7),
        "allow_http": ("true", True),
        "allowed_networks": ("10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    }
    path = tmp_path / "cdc.toml"
    for name, (text, value) in given.items():
        monkeypatch.setenv(f"CDC_{name.upper()}", f"{before}{text}{after}")
        assert getattr(load(), name) == value
        if name not in ("database_url", "window", "allow_http"):
            monkeypatch.delenv(f"CDC_{name.upper()}")
            path.write_text(f"{name} = '''{before}{text}{after}'''".replace("\r", ""))
            assert getattr(load(path), name) == value
    monkeypatch.setenv("CDC_HTTP_HOST", " \n")
    assert load().http_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://suite.example/a b/", "a space"),
        ("https://suite.example/a\nb/", "control character"),
        ("https://suite.ex\u00e4mple/", "xn--"),
        ("https://suite.example/{company}/", "holds {"),
        ("https://suite.example\\@evil/", "holds \\"),
        ("https://suite.example/100%/", "%25"),
    ],
)
def test_a_base_url_holds_nothing_that_no_url_has(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("CDC_BASE_URL", url)
    assert message in refusal()
