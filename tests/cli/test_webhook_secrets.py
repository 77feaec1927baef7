"""Ways of signing, and secrets at rest: `cdc webhook` with keys and without."""

from __future__ import annotations

import psycopg
import pytest

from cdc.message.signing_keys import Scheme, new_secret, parse_secret, public_key
from cdc.webhooks.vault import MARK, new_key
from tests.cli.command import Command

LOGIN_URL = "http://me:hush-hush@127.0.0.1:9/hook"


def stored(db: psycopg.Connection) -> str:
    """All that is in the registry, as text."""
    rows = db.execute(
        "select w::text from cdc.webhook w union all select s::text from cdc.webhook_secret s"
    ).fetchall()
    return "\n".join(row[0] for row in rows)


def with_keys(cdc: Command, *keys: str) -> Command:
    return Command({**cdc.env, "CDC_SECRET_KEYS": ",".join(keys)})


def test_reads_from_stdin_what_no_list_of_processes_may_show(
    cdc: Command, db: psycopg.Connection
) -> None:
    secret = new_secret()
    options = ("--company", 1, "--event", "note_changed")
    given = ("--header", "X-A: 1", "--header", "-", "--url", "-", "--secret", "-")
    lines = ["http://me:pw@127.0.0.1:9/", secret, "X-Key: tell"]
    added = cdc.json("webhook", "add", *options, *given, stdin="\n".join(lines))
    assert added["secret"] == secret
    stored = b"select endpoint, headers from cdc.webhook"
    assert db.execute(stored).fetchone() == (lines[0], {"X-A": "1", "X-Key": "tell"})
    lines = ["http://me:new@127.0.0.1:9/", "X-Key: new"]
    by_stdin = ("--header", "-", "--url", "-")
    cdc.good("webhook", "update", added["id"], *by_stdin, stdin="\n".join(lines))
    assert db.execute(stored).fetchone() == (lines[0], {"X-Key": "new"})
    output = cdc.refused("webhook", "update", added["id"], "--header", "-", code=2, stdin="")
    assert "a header without a colon" in output


class TestSignature:
    def test_a_key_pair_shows_its_public_key_only(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        added = cdc.add(signature="v1a")
        [(secret,)] = db.execute("select secret from cdc.webhook_secret").fetchall()
        assert added["secret"] is None
        assert added["signature"] == "v1a"
        assert added["public_key"] == public_key(secret)
        shown = cdc.json("webhook", "show", added["id"])
        assert shown["public_keys"] == [added["public_key"]]
        assert shown["signatures"] == ["v1a"]
        output = cdc.good("webhook", "add", "--company", 2, "--event", "note_changed", "--url",
                        "http://127.0.0.1:9/", "--signature", "v1a")  # fmt: skip
        assert "public key" in output.err
        assert "whpk_" in output.out
        assert "whsk_" not in output.out + output.err

    def test_one_of_your_own(self, cdc: Command) -> None:
        private = new_secret(Scheme.V1A)
        added = cdc.add(secret=private)
        assert added["public_key"] == public_key(private)
        for other in ({"signature": "v1"}, {"signature": "v2"}):
            output = cdc.refused(
                *("webhook", "add", "--company", 2, "--event", "note_changed"),
                *("--url", "http://127.0.0.1:9/", "--secret", private),
                *("--signature", other["signature"]),
                code=2,
            )
            assert private not in output

    def test_from_one_to_the_other_and_back(self, cdc: Command, db: psycopg.Connection) -> None:
        number = cdc.add()["id"]
        rotate = ["webhook", "rotate-secret", number]
        there = cdc.json(*rotate, "--signature", "v1a")
        assert there["secret"] is None
        assert there["old_secret_until"]
        assert cdc.json("webhook", "show", number)["signatures"] == ["v1a", "v1"]
        # Without the option it stays what it is.
        again = cdc.json(*rotate)
        assert again["public_key"] != there["public_key"]
        back = cdc.json(*rotate, "--signature", "v1", "--grace", "0")
        parse_secret(back["secret"])
        assert cdc.json("webhook", "show", number)["signatures"] == ["v1"]

    def test_moved_to_another_installation(self, cdc: Command, db: psycopg.Connection) -> None:
        added = cdc.add(signature="v1a")
        exported = cdc.good("webhook", "export", "--secrets").out
        db.execute("delete from cdc.webhook")
        [imported] = cdc.json("webhook", "import", "-", stdin=exported)
        shown = cdc.json("webhook", "show", imported["id"])
        assert shown["public_keys"] == [added["public_key"]]


class TestAtRest:
    def test_nothing_secret_lies_in_the_database(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        cdc = with_keys(cdc, new_key())
        secret = new_secret()
        added = cdc.add(url=LOGIN_URL, secret=secret, header="X-Key: marked-value")
        cdc.good("webhook", "rotate-secret", added["id"], "--signature", "v1a")
        cdc.good("webhook", "update", added["id"], "--header", "X-Other: marked-value")
        for marked in (secret, "hush-hush", "marked-value", "whsk_"):
            assert marked not in stored(db)
        assert stored(db).count(MARK) == 4
        exported = cdc.json("webhook", "export", "--secrets")["webhooks"][0]
        assert exported["endpoint"] == LOGIN_URL
        assert exported["headers"] == {"X-Other": "marked-value"}
        assert secret in [one["secret"] for one in exported["secrets"]]
        shown = cdc.good("webhook", "show", added["id"]).out
        assert MARK not in shown
        assert MARK not in cdc.good("webhook", "list").out

    def test_introducing_changing_and_taking_keys_away(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        old, new = new_key(), new_key()
        first = cdc.add(url=LOGIN_URL, header="X-Key: marked-value")
        plain = cdc.json("webhook", "export", "--secrets")
        assert "CDC_SECRET_KEYS" in cdc.refused("webhook", "reencrypt-secrets")

        keyed = with_keys(cdc, old)
        assert keyed.json("webhook", "reencrypt-secrets") == {
            "webhooks": 1, "secrets": 1, "untouched": 0, "encrypted": True
        }  # fmt: skip
        assert "marked-value" not in stored(db)
        assert first["secret"] not in stored(db)
        assert keyed.json("webhook", "reencrypt-secrets")["webhooks"] == 0
        assert keyed.json("webhook", "show", first["id"])["version"] > first["version"]

        both = with_keys(cdc, new, old)
        assert both.json("webhook", "reencrypt-secrets")["webhooks"] == 1
        only = with_keys(cdc, new)
        assert only.json("webhook", "export", "--secrets") == plain

        # The old key alone opens nothing any more, and what fails changes nothing.
        before = stored(db)
        output = keyed.refused("webhook", "reencrypt-secrets")
        assert f"webhook {first['id']}: " in output
        assert "CDC_SECRET_KEYS" in output
        assert stored(db) == before

        assert "--yes" in only.refused("webhook", "reencrypt-secrets", "--decrypt", code=2)
        only.good("webhook", "reencrypt-secrets", "--decrypt", "--yes")
        assert MARK not in stored(db)
        assert cdc.json("webhook", "export", "--secrets") == plain

    def test_without_the_key_the_rest_still_works(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        number = with_keys(cdc, new_key()).add(url=LOGIN_URL)["id"]
        assert "CDC_SECRET_KEYS is not set" in cdc.good("webhook", "show", number).err
        cdc.good("webhook", "list")
        cdc.good("webhook", "update", number, "--cap", 3)
        for refused in (["test", number], ["export", "--secrets"], ["rotate-secret", number]):
            assert "CDC_SECRET_KEYS is not set" in cdc.refused("webhook", *refused)
        # A lost key is no dead end: a new secret at once, and the login written again.
        cdc.good("webhook", "rotate-secret", number, "--grace", "0", "--signature", "v1")
        cdc.good("webhook", "update", number, "--url", LOGIN_URL)
        cdc.good("webhook", "export", "--secrets")
        cdc.good("webhook", "remove", number, "--yes")

    def test_doctor(self, cdc: Command, db: psycopg.Connection) -> None:
        def found(command: Command) -> tuple[str, str]:
            checks = command("doctor", "--json").json["checks"]
            [one] = [c for c in checks if c["check"] == "encryption"]
            return one["verdict"], one["message"] + one["todo"]

        old, new = new_key(), new_key()
        cdc.add()
        assert found(cdc)[0] == "warn"
        assert "CDC_SECRET_KEYS" in found(cdc)[1]
        verdict, output = found(with_keys(cdc, old))
        assert (verdict, "reencrypt-secrets" in output) == ("warn", True)
        with_keys(cdc, old).good("webhook", "reencrypt-secrets")
        assert found(with_keys(cdc, old))[0] == "ok"
        assert found(with_keys(cdc, new, old))[0] == "warn"
        for wrong in (cdc, with_keys(cdc, new)):
            verdict, output = found(wrong)
            assert verdict == "fail"
            assert "CDC_SECRET_KEYS" in output
            assert "1 webhook held" in output

    @pytest.mark.parametrize("text", ["cdc-sealed:gAAAAmine"])
    def test_a_secret_that_looks_encrypted_is_refused(self, cdc: Command, text: str) -> None:
        add = ["webhook", "add", "--company", 1, "--event", "note_changed", "--url"]
        for arguments in (
            [*add, f"http://{text}@127.0.0.1:9/"],
            [*add, "http://127.0.0.1:9/", "--header", f"X-Key: {text}"],
        ):
            assert "encrypted" in cdc.refused(*arguments, code=2)


class TestKeys:
    def test_a_new_key_can_be_used_at_once(self, cdc: Command) -> None:
        made = cdc.good("config", "new-key")
        key = made.out.strip()
        assert cdc.json("config", "new-key")["key"] != key
        shown = with_keys(cdc, key, new_key()).json("config", "show")["secret_keys"]
        assert shown["value"] == "***,***"

    @pytest.mark.parametrize("wrong", ["marked-text", "bWFya2VkLXRleHQ=", "é" * 44])
    def test_what_is_no_key_is_refused_and_not_repeated(self, cdc: Command, wrong: str) -> None:
        output = with_keys(cdc, new_key(), wrong).refused("config", "check")
        assert "secret_keys (CDC_SECRET_KEYS) is not accepted (key number 2 is invalid)" in output
        assert wrong not in output
