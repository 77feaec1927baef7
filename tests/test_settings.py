"""Settings: what comes from where, and that every mistake is named."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdc.errors import ConfigError
from cdc.settings import Settings, describe, load, redact_dsn, values

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
    monkeypatch.setenv("CDC_CONFIG", str(written(tmp_path, "window = 7")))
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
    monkeypatch.setenv("CDC_ALOW_HTTP", "true")
    told = refusal()
    assert "CDC_ALOW_HTTP" in told
    assert "Did you mean CDC_ALLOW_HTTP?" in told


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "max_concurency = 3")
    told = refusal(path)
    assert f"max_concurency in {path}" in told
    assert "Did you mean max_concurrency?" in told


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
def test_a_wrong_value_is_told_with_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    told = refusal()
    assert variable in told
    assert value.split(",")[-1] in told
    assert expected in told


def test_all_wrong_values_are_told_at_once(tmp_path: Path) -> None:
    told = refusal(written(tmp_path, "window = true\nhttp_port = 70000\nallowed_networks = [5]"))
    assert all(key in told for key in ("window = True", "http_port = 70000", "allowed_networks"))


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
    told = refusal()
    assert "CDC_DATABASE_URL" in told
    assert "geheim" not in told


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
def test_a_password_that_reads_as_a_host_is_not_told(
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
    told = refusal()
    assert "CDC_DATABASE_URL" in told
    assert said in told
    assert "geheim" not in told
