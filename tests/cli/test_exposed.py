"""Files with secrets that others may read: reported by the doctor, at the start, and by the check
of the settings."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from cdc.diagnosis.exposed_files import exposed, others
from cdc.settings import load
from cdc.webhooks.vault import new_key
from tests.cli.command import Command
from tests.daemon.running import Process
from tests.support.certificates import Authority, profile

PASSWORD = "marked-password"
NOBODY_THERE = "postgresql://127.0.0.1:9/nowhere"
EVENT = "secrets may be read by others"


@pytest.mark.parametrize(
    ("mode", "owner", "reported"),
    [
        (0o600, 1000, None),
        (0o400, 1000, None),
        (0o700, 1000, None),
        (0o600, 0, None),
        (0o640, 0, None),
        (0o440, 0, None),
        (0o640, 1000, "read by group 4000000 (mode 0640)"),
        (0o660, 1000, "changed by group 4000000 (mode 0660)"),
        (0o620, 0, "changed by group 4000000 (mode 0620)"),
        (0o644, 1000, "read by all accounts (mode 0644)"),
        (0o644, 0, "read by all accounts (mode 0644)"),
        (0o604, 0, "read by all accounts (mode 0604)"),
        (0o602, 1000, "changed by all accounts (mode 0602)"),
        (0o666, 0, "changed by all accounts (mode 0666)"),
    ],
)
def test_who_else_gets_at_a_file(mode: int, owner: int, reported: str | None) -> None:
    info = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, 4_000_000, 0, 0, 0, 0))
    assert others(info) == reported


def settings_file(folder: Path, **values: object) -> Path:
    file = folder / "cdc.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    file.chmod(0o644)
    return file


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ({"database_url": f"postgresql://me:{PASSWORD}@h/d"}, "database_url"),
        ({"database_url": f"host=h password={PASSWORD}"}, "database_url"),
        ({"secret_keys": [new_key()]}, "secret_keys"),
        ({"proxy": f"http://me:{PASSWORD}@h:3128"}, "proxy"),
        (
            {"secret_keys": [new_key()], "database_url": f"postgresql://me:{PASSWORD}@h/d"},
            "database_url, secret_keys",
        ),
        ({"database_url": "postgresql://me@h/d", "proxy": "http://h:3128"}, None),
        ({"window": 10}, None),
        ({"secret_keys": []}, None),
    ],
)
def test_a_settings_file_counts_for_what_is_secret_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, object], held: str | None
) -> None:
    file = settings_file(tmp_path, **values)
    found = exposed(load(file, need_database=False))
    assert [(one.path, one.holds) for one in found] == ([(file, held)] if held else [])
    for one in found:
        assert PASSWORD not in one.message + one.hint
        assert f"chmod 600 {file}" in one.hint
    file.chmod(0o600)
    assert exposed(load(file, need_database=False)) == []
    # What the environment says instead is not in the file.
    file.chmod(0o644)
    if held == "proxy":
        monkeypatch.setenv("CDC_PROXY", "http://me:other@h:3128")
        assert exposed(load(file, need_database=False)) == []


def test_private_keys_wherever_they_are_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = Authority(tmp_path, "ours")
    cert, key = ca.issue("us")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    folder = tmp_path / "profiles"
    one = profile(folder, "one", ca=ca.file, cert=cert, key=key) / "key.pem"
    two = profile(folder, "two", cert=both) / "cert.pem"
    profile(folder, "three", ca=ca.file)
    monkeypatch.setenv("CDC_TLS_PROFILES", str(folder))
    monkeypatch.setenv("CDC_TLS_CERT_FILE", str(cert))
    monkeypatch.setenv("CDC_TLS_KEY_FILE", str(key))
    for path in tmp_path.rglob("*.pem"):
        path.chmod(0o644)

    def found() -> list[Path]:
        return [one.path for one in exposed(load(need_database=False))]

    # Certificates are public.
    assert found() == [key, one, two]
    monkeypatch.delenv("CDC_TLS_KEY_FILE")
    monkeypatch.setenv("CDC_TLS_CERT_FILE", str(both))
    assert found() == [both, one, two]
    for path in (both, one, two):
        path.chmod(0o600)
    assert found() == []
    monkeypatch.setenv("CDC_TLS_PROFILES", str(tmp_path / "nowhere"))
    monkeypatch.setenv("CDC_TLS_CERT_FILE", str(tmp_path / "nothing.pem"))
    assert found() == []


def test_the_doctor_and_config_check_report_it(cdc: Command, tmp_path: Path) -> None:
    file = settings_file(tmp_path, database_url=cdc.env.pop("CDC_DATABASE_URL"))
    cdc.env["CDC_CONFIG"] = str(file)

    def finding() -> dict[str, str]:
        checks: list[dict[str, str]] = cdc("doctor", "--json").json["checks"]
        return next(one for one in checks if one["check"] == "files")

    reported = finding()
    assert reported["verdict"] == "warn"
    assert reported["message"] == (
        f"{file}, which holds database_url, may be read by all accounts (mode 0644)"
    )
    assert f"chmod 600 {file}" in reported["todo"]
    assert reported["message"] in cdc.good("config", "check").err
    file.chmod(0o600)
    assert finding()["verdict"] == "ok"
    assert "may be read" not in cdc.good("config", "check").err


async def test_a_daemon_logs_it_when_it_starts(tmp_path: Path) -> None:
    file = settings_file(tmp_path, secret_keys=[new_key()])
    async with Process(NOBODY_THERE, config=file) as daemon:
        line = await daemon.until(EVENT)
        assert line.level == "warning"
        assert line.values["file"] == str(file)
        assert "secret_keys" in line.values["detail"]
        assert "chmod 600" in line.values["hint"]
    file.chmod(0o600)
    async with Process(NOBODY_THERE, config=file) as daemon:
        await daemon.until("connection lost")
        assert daemon.log.all(EVENT) == []


async def test_of_several_processes_the_parent_logs_it(tmp_path: Path) -> None:
    file = settings_file(tmp_path, secret_keys=[new_key()])
    options = ("--processes", "2")
    async with Process(NOBODY_THERE, options=options, config=file) as daemon:
        for number in (1, 2):
            await daemon.until("connection lost", process=number)
        assert len(daemon.log.all(EVENT)) == 1
