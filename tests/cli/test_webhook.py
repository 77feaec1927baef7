"""`cdc webhook`: add, list, show, update, pause, resume, remove, rotate-secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.message.signing_keys import new_secret, parse_secret
from cdc.settings import Settings
from cdc.webhooks.model import Duplicate, NewWebhook, Rules
from cdc.webhooks.registry import Registry
from tests.cli.command import Command

PASSWORD = "hush-hush"


def secrets(db: psycopg.Connection, webhook_id: int) -> list[str]:
    rows = db.execute(
        "select secret from cdc.webhook_secret where webhook_id = %s"
        " and (expires_at is null or expires_at > clock_timestamp()) order by created_at desc",
        [webhook_id],
    ).fetchall()
    return [row[0] for row in rows]


class TestAdd:
    def test_prints_id_and_secret_once(self, cdc: Command, db: psycopg.Connection) -> None:
        done = cdc.good(
            *("webhook", "add", "--company", 1, "--url", "http://127.0.0.1:9/hook"),
            *("--event", "rating_changed", "--event", "project_changed"),
        )
        number, secret = [line.split()[-1] for line in done.out.splitlines()]
        parse_secret(secret)
        assert secrets(db, int(number)) == [secret]
        shown = cdc.json("webhook", "show", number)
        assert shown["events"] == ["project_changed", "rating_changed"], "in the mapping's order"
        for command in (["list"], ["show", number], ["list", "--json"], ["show", number, "--json"]):
            assert secret not in cdc.good("webhook", *command).out

    def test_takes_all_options(self, cdc: Command, db: psycopg.Connection) -> None:
        secret = new_secret()
        added = cdc.json(
            *("webhook", "add", "--company", 1, "--url", "HTTP://127.0.0.1:9/hook?a=b"),
            *("--event", "note_changed", "--secret", secret, "--cap", 3, "--rate", 0.5),
            *("--header", "X-Key: a b", "--header", "X-Other:c", "--description", "the ATS"),
        )
        assert added["secret"] == secret
        assert (added["cap"], added["rate"], added["description"]) == (3, 0.5, "the ATS")
        row = db.execute("select endpoint, headers from cdc.webhook").fetchone()
        assert row == ("http://127.0.0.1:9/hook?a=b", {"X-Key": "a b", "X-Other": "c"})

    def test_reads_a_secret_from_stdin(self, cdc: Command) -> None:
        secret = new_secret()
        options = ["--company", 1, "--event", "note_changed", "--url", "http://127.0.0.1:9/"]
        added = cdc.json("webhook", "add", *options, "--secret", "-", stdin=f"{secret}\n")
        assert added["secret"] == secret

    @pytest.mark.parametrize(
        ("options", "code", "message"),
        [
            ({"event": "project_chnged"}, 2, "Did you mean project_changed?"),
            ({"event": "nonsense"}, 2, "rating_changed"),
            ({"url": "ftp://example.com/"}, 2, "https://"),
            ({"url": "https://"}, 2, "no host"),
            ({"url": "https://10.1.2.3/"}, 1, "CDC_ALLOWED_NETWORKS=10.1.2.3/32"),
            ({"url": "https://169.254.169.254/"}, 1, "cloud metadata"),
            ({"secret": "whsec_short"}, 2, "24 to 64"),
            ({"secret": "geheim"}, 2, "whsec_"),
            ({"cap": 0}, 2, "1 to 1000"),
            ({"rate": -1}, 2, "from 0.001 to"),
            ({"rate": "nan"}, 2, "from 0.001 to"),
            ({"header": "no colon"}, 2, "X-Api-Key: value"),
            ({"header": "Host: other"}, 2, "is reserved"),
            ({"header": "webhook-id: 1"}, 2, "is reserved"),
            ({"company": "01"}, 2, "--company 1"),
            ({"company": "acme"}, 2, "bigint"),
            ({"company": ""}, 2, "invalid company '': expected its key"),
        ],
    )
    def test_refuses(
        self, unchanged: Command, options: dict[str, object], code: int, message: str
    ) -> None:
        chosen = {"company": 1, "event": "note_changed", "url": "http://127.0.0.1:9/", **options}
        named = [part for name, value in chosen.items() for part in (f"--{name}", value)]
        assert message in unchanged.refused("webhook", "add", *named, code=code)
        assert unchanged.json("webhook", "list", "--all") == []

    def test_refuses_plain_http_unless_it_is_allowed(self, unchanged: Command) -> None:
        cdc = Command({**unchanged.env, "CDC_ALLOW_HTTP": "false"})
        options = ["--company", 1, "--event", "note_changed", "--url", "http://example.com/"]
        assert "CDC_ALLOW_HTTP" in cdc.refused("webhook", "add", *options)

    def test_refuses_a_duplicate_and_names_it(self, cdc: Command) -> None:
        first = cdc.add(event="project_changed")
        options = ["--company", 1, "--event", "note_changed", "--event", "project_changed"]
        for url in ("http://127.0.0.1:9/hook", "http://me:pass@127.0.0.1:9/hook"):
            output = cdc.refused("webhook", "add", *options, "--url", url)
            assert f"webhook {first['id']} of company 1" in output
            assert "project_changed" in output
        cdc.add(event="note_changed")  # the same endpoint for something else
        cdc.add(url="http://127.0.0.1:9/other")  # the same event elsewhere
        cdc.add(company="2")
        cdc.good("webhook", "remove", first["id"], "--yes")
        cdc.add(event="project_changed")

    def test_two_at_once_cannot_both_register_the_same(self, cdc: Command) -> None:
        settings = Settings(allow_http=True, allowed_networks="127.0.0.0/8")
        new = NewWebhook("1", ("note_changed",), "http://127.0.0.1:9/")

        def add(_: int) -> bool:
            rules = Rules.of(settings, default_mapping())
            with Registry(cdc.env["CDC_DATABASE_URL"], rules) as registry:
                try:
                    registry.add(new)
                except Duplicate:
                    return False
                return True

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(add, range(8))) == [False] * 7 + [True]

    def test_limits_name_their_setting(self, cdc: Command) -> None:
        cdc.env |= {"CDC_WEBHOOKS_PER_COMPANY": "3", "CDC_WEBHOOKS_PER_EVENT": "2"}
        for number in range(2):
            cdc.add(url=f"http://127.0.0.1:9/{number}")
        options = ["--company", 1, "--url", "http://127.0.0.1:9/more"]
        output = cdc.refused("webhook", "add", *options, "--event", "project_changed")
        assert "CDC_WEBHOOKS_PER_EVENT" in output
        cdc.add(event="note_changed")
        output = cdc.refused("webhook", "add", *options, "--event", "rating_changed")
        assert "CDC_WEBHOOKS_PER_COMPANY" in output
        cdc.add(company="2")

    def test_warns_of_a_company_that_is_not_there(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        options = ["--event", "note_changed", "--url", "http://127.0.0.1:9/"]
        assert "no company 77" in cdc.good("webhook", "add", "--company", 77, *options).err
        assert "warning" not in cdc.good("webhook", "add", "--company", 1, *options).err

    def test_does_not_wait_for_a_locked_company_table(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        with db.transaction():
            db.execute("lock table company")
            assert cdc.add()["id"]

    def test_warns_of_a_name_that_leads_to_a_refused_address(self, cdc: Command) -> None:
        cdc.env["CDC_ALLOWED_NETWORKS"] = ""
        options = ["--company", 1, "--event", "note_changed"]
        done = cdc.good("webhook", "add", *options, "--url", "https://nowhere.invalid/")
        assert "warning: the name nowhere.invalid cannot be resolved" in done.err

    def test_warns_of_an_underscore_in_a_host(self, cdc: Command) -> None:
        options = ["--company", 1, "--event", "note_changed"]
        done = cdc.good("webhook", "add", *options, "--url", "https://a_b.hooks.invalid/")
        assert "a_b.hooks.invalid holds an underscore: a wildcard certificate" in done.err

    def test_refuses_a_stray_percent_sign(self, cdc: Command) -> None:
        options = ["--company", 1, "--event", "note_changed"]
        output = cdc.refused("webhook", "add", *options, "--url", "https://h.invalid/100%", code=2)
        assert "Write %25 for %." in output
        number = cdc.add()["id"]
        cdc.refused("webhook", "update", number, "--url", "http://127.0.0.1:9/%zz", code=2)

    def test_the_default_cap_is_a_setting(self, cdc: Command) -> None:
        cdc.env["CDC_MAX_CONCURRENCY"] = "4"
        assert cdc.add()["cap"] == 4


class TestListAndShow:
    def test_filters(self, cdc: Command) -> None:
        one = cdc.add()["id"]
        two = cdc.add(company="2", event="note_changed")["id"]
        three = cdc.add(event="note_changed")["id"]
        cdc.good("webhook", "pause", two)
        cdc.good("webhook", "remove", three, "--yes")

        def ids(*options: object) -> list[int]:
            return [webhook["id"] for webhook in cdc.json("webhook", "list", *options)]

        assert ids() == [one, two]
        assert ids("--all") == [one, two, three]
        assert ids("--company", 2) == [two]
        assert ids("--event", "project_changed") == [one]
        said = cdc.refused("webhook", "list", "--event", "nope", code=2)
        assert "unknown event 'nope'" in said
        assert ids("--state", "paused") == [two]
        assert ids("--state", "removed") == [three]
        assert "suspended" in cdc.refused("webhook", "list", "--state", "nonsense", code=2)

    def test_never_show_what_is_secret(self, cdc: Command) -> None:
        url = f"http://me:{PASSWORD}@127.0.0.1:9/hook"
        number = cdc.add(url=url, header=f"X-Key: {PASSWORD}")["id"]
        for command in ("list", f"show {number}", "export"):
            for extra in ([], ["--json"]):
                done = cdc.good("webhook", *command.split(), *extra)
                assert PASSWORD not in done.out + done.err
                assert "***@127.0.0.1:9/hook" in done.out

    def test_text_of_others_cannot_steer_the_terminal(self, cdc: Command) -> None:
        cdc.add(description="\x1b[2Jgone [bold]still here[/bold]")
        out = cdc.good("webhook", "list").out
        assert "\x1b" not in out
        assert "[bold]still here[/bold]" in out

    def test_an_unknown_webhook_is_reported(self, cdc: Command) -> None:
        for command in ("show", "pause", "resume", "remove", "rotate-secret", "test"):
            assert "cdc webhook list" in cdc.refused("webhook", command, 12345)
        assert "12345" in cdc.refused("webhook", "update", 12345, "--cap", 3)
        assert cdc("webhook", "show", "abc").code == 2
        cdc.refused("webhook", "show", 2**70)


class TestHold:
    def test_pause_and_resume(self, cdc: Command, db: psycopg.Connection) -> None:
        number = cdc.add()["id"]
        paused = cdc.json("webhook", "pause", number, "--reason", "maintenance")
        assert (paused["state"], paused["reason"]) == ("paused", "maintenance")
        assert paused["daemon"] == "nobody"
        db.execute("insert into project (company_id) values (1)")
        assert db.execute("select count(*) from cdc.queue").fetchone() == (1,), "it collects"
        again = cdc.json("webhook", "pause", number, "--reason", "maintenance")
        assert again["version"] == paused["version"]
        resumed = cdc.json("webhook", "resume", number)
        assert (resumed["state"], resumed["reason"]) == ("active", "")
        assert resumed["version"] > paused["version"]

    def test_resume_ends_a_suspension(self, cdc: Command, db: psycopg.Connection) -> None:
        number = cdc.add()["id"]
        db.execute("update cdc.webhook set state = 'suspended', reason = '410 Gone'")
        assert cdc.json("webhook", "resume", number)["state"] == "active"

    def test_remove_is_soft_and_for_good(self, cdc: Command, db: psycopg.Connection) -> None:
        number = cdc.add(url=f"http://me:{PASSWORD}@127.0.0.1:9/", header="X-Key: 1")["id"]
        db.execute("insert into project (company_id) values (1)")
        said = cdc.refused("webhook", "remove", number, code=2, stdin="n\n")
        assert re.search(r"cannot ask without a terminal: .*\(1 delivery\)\?", said)
        assert cdc.json("webhook", "show", number)["state"] == "active"
        done = cdc.good("webhook", "remove", number, "--reason", "left", "--yes")
        assert "what still waits (1 delivery)" in done.err
        assert PASSWORD not in done.err
        row = db.execute("select state, reason, headers, endpoint from cdc.webhook").fetchone()
        assert row == ("removed", "left", {}, "http://127.0.0.1:9/")
        assert db.execute("select from cdc.subscription").fetchall() == []
        assert db.execute("select from cdc.webhook_secret").fetchall() == []
        db.execute("insert into project (company_id) values (1)")
        assert db.execute("select count(*) from cdc.queue").fetchone() == (1,)
        for command in ("remove", "pause", "resume", "rotate-secret", "test"):
            assert "was removed" in cdc.refused("webhook", command, number)
        assert cdc.json("webhook", "show", number)["state"] == "removed"


class TestRotateSecret:
    def test_both_are_valid_for_the_time_of_grace(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        added = cdc.add()
        number = added["id"]
        rotated = cdc.json("webhook", "rotate-secret", number)
        assert secrets(db, number) == [rotated["secret"], added["secret"]]
        assert rotated["old_secret_until"]
        row = db.execute(
            "select round(extract(epoch from max(expires_at) - now()) / 3600)"
            " from cdc.webhook_secret"
        ).fetchone()
        assert row == (24,)
        assert cdc.json("webhook", "show", number)["version"] > added["version"]

    def test_without_grace_the_old_one_ends_at_once(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        number = cdc.add()["id"]
        cdc.good("webhook", "rotate-secret", number, "--grace", "1h")
        own = new_secret()
        rotated = cdc.json("webhook", "rotate-secret", number, "--grace", "0", "--secret", own)
        assert rotated == {
            "id": number, "signature": "v1", "secret": own, "old_secret_until": None
        }  # fmt: skip
        assert secrets(db, number) == [own]

    def test_refuses(self, cdc: Command) -> None:
        added = cdc.add()
        rotate = ["webhook", "rotate-secret", added["id"]]
        assert "24h" in cdc.refused(*rotate, "--grace", "soon", code=2)
        output = cdc.refused(*rotate, "--secret", added["secret"], code=2)
        assert "in use" in output
        assert added["secret"] not in output
        for _ in range(4):
            cdc.good(*rotate)
        assert "--grace 0" in cdc.refused(*rotate)
        cdc.good(*rotate, "--grace", "0")


class TestRights:
    def test_an_admin_can_do_everything(
        self, cdc: Command, as_role: Callable[[str], Command]
    ) -> None:
        admin = as_role("cdc_admin")
        number = admin.add()["id"]
        for command in ("pause", "resume", "rotate-secret", "show"):
            admin.good("webhook", command, number)
        admin.good("webhook", "remove", number, "--yes")
        admin.good("webhook", "update", admin.add()["id"], "--cap", 2)
        admin.good("webhook", "export", "--secrets")
        admin.good("delivery", "list")
        assert "no daemon runs" in admin("status").out
        admin.good("adopt")

    def test_a_reader_sees_no_endpoints_and_why(
        self, cdc: Command, as_role: Callable[[str], Command]
    ) -> None:
        cdc.add()
        output = as_role("cdc_reader").refused("webhook", "list")
        assert "permission denied" in output
        assert "docs/dba.md" in output
