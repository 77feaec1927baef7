"""TLS profiles on the command line: registering, checking, sending a test."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.cli.command import Command
from tests.support.certificates import Authority, profile
from tests.support.hostile import OK, Hostile, keeps_saying


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def profiles(cdc: Command, ca: Authority, tmp_path: Path) -> Path:
    """The folder of profiles, with one that can be used, set for the command line."""
    folder = tmp_path / "profiles"
    cert, key = ca.issue("us")
    profile(folder, "one", ca=ca.file, cert=cert, key=key)
    cdc.env["CDC_TLS_PROFILES"] = str(folder)
    return folder


def named(db: psycopg.Connection, number: int) -> str | None:
    row = db.execute("select tls_profile from cdc.webhook where id = %s", [number]).fetchone()
    assert row is not None
    name: str | None = row[0]
    return name


def test_a_webhook_names_its_profile(cdc: Command, db: psycopg.Connection, profiles: Path) -> None:
    done = cdc.good(
        "webhook", "add", "--company", "1", "--event", "note_changed", "--json",
        "--url", "http://127.0.0.1:9/a", "--tls-profile", "one",
    )  # fmt: skip
    assert "warning" not in done.err
    number = done.json["id"]
    assert done.json["tls_profile"] == named(db, number) == "one"
    assert cdc.json("webhook", "show", number)["tls_profile"] == "one"
    assert "one" in cdc.good("webhook", "show", number).out
    cdc.good("webhook", "update", number, "--cap", 3)
    assert named(db, number) == "one"
    assert "'two'" in cdc.good("webhook", "update", number, "--tls-profile", "two").err
    assert named(db, number) == "two"
    cdc.good("webhook", "update", number, "--no-tls-profile")
    assert named(db, number) is None


def test_a_profile_that_is_not_here_is_a_warning(cdc: Command) -> None:
    """The daemon may run elsewhere."""
    done = cdc.good(
        "webhook", "add", "--company", "1", "--event", "note_changed",
        "--url", "http://127.0.0.1:9/a", "--tls-profile", "one",
    )  # fmt: skip
    assert "warning: unknown TLS profile 'one': CDC_TLS_PROFILES is not set" in done.err


def test_wrong_usage(unchanged: Command) -> None:
    add = ("webhook", "add", "--company", "1", "--event", "note_changed", "--url", "http://a.b/")
    for name in ("../one", "One", ""):
        assert "invalid TLS profile" in unchanged.refused(*add, "--tls-profile", name, code=2)
    update = ("webhook", "update", "1", "--tls-profile")
    assert "contradict" in unchanged.refused(*update, "a", "--no-tls-profile", code=2)
    assert "--no-tls-profile" in unchanged.refused(*update, "", code=2)


def test_export_and_import_keep_it(cdc: Command, db: psycopg.Connection, profiles: Path) -> None:
    cdc.add(**{"tls-profile": "one"})
    for flags in ([], ["--secrets"]):
        file = cdc.good("webhook", "export", *flags).out
        assert json.loads(file)["webhooks"][0]["tls_profile"] == "one"
        [old] = cdc.json("webhook", "list")
        cdc.good("webhook", "remove", old["id"], "--yes")
        [new] = cdc.json("webhook", "import", "-", stdin=file)
        assert named(db, new["id"]) == "one"


def test_a_test_uses_it(cdc: Command, ca: Authority, profiles: Path) -> None:
    def tried(url: str) -> list[bool]:
        good = cdc.add(url=url, **{"tls-profile": "one"})["id"]
        bad = cdc.add(company="2", url=url)["id"]
        return [cdc("webhook", "test", number, "--json").json["ok"] for number in (good, bad)]

    async def served() -> list[bool]:
        async with Hostile(keeps_saying(OK), tls=ca.demanding(ca)) as peer:
            return await asyncio.to_thread(tried, peer.url())

    assert asyncio.run(served()) == [True, False]


def test_config_check(cdc: Command, ca: Authority, profiles: Path) -> None:
    cdc.good("config", "check")
    cert, key = ca.issue("soon", valid=timedelta(days=2))
    profile(profiles, "soon", cert=cert, key=key)
    assert "cert.pem ends on" in cdc.good("config", "check").err
    cert, key = ca.issue("gone", valid=timedelta(days=-2))
    profile(profiles, "gone", cert=cert, key=key)
    assert "cert.pem ended on" in cdc.refused("config", "check")
    cdc.env["CDC_TLS_KEY_FILE"] = str(key)
    assert "tls_cert_file is not" in cdc.refused("config", "check")
    cdc.env["CDC_TLS_CERT_FILE"] = str(ca.file)
    assert "does not fit" in cdc.refused("config", "check")
    del cdc.env["CDC_TLS_CERT_FILE"], cdc.env["CDC_TLS_KEY_FILE"]
    cdc.env["CDC_TLS_PROFILES"] = str(profiles / "nowhere")
    assert "cannot be read" in cdc.refused("config", "check")


def test_doctor(cdc: Command, ca: Authority, profiles: Path) -> None:
    def found() -> tuple[str, str]:
        checks = cdc("doctor", "--json").json["checks"]
        [one] = [check for check in checks if check["check"] == "tls"]
        return one["verdict"], one["message"] + one["todo"]

    (profiles / "unused").mkdir()
    cdc.add(**{"tls-profile": "one"})
    assert found() == ("ok", "the certificates can be used; 1 profile in use")
    cdc.good("webhook", "update", 1, "--tls-profile", "unused")
    assert found()[0] == "fail"
    assert "'unused' is empty" in found()[1]
    cert, key = ca.issue("soon", valid=timedelta(days=2))
    profile(profiles, "unused", cert=cert, key=key)
    assert found()[0] == "warn"
    assert "ends on" in found()[1]
