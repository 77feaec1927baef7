"""The command line as a whole: its list of commands, its errors, its speed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from cdc import __version__
from cdc.cli import COMMANDS, load
from cdc.mapping import default_mapping
from tests.cli.command import Command

BUILT = [name for name, listed in COMMANDS.items() if find_spec(listed.module)]


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    encoding = env.get("PYTHONIOENCODING")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CDC_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding=encoding,
        env=clean | env,
        check=False,
    )


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['cdc', *{list(arguments)!r}]; from cdc.cli import main; main()"
    return python(code, **env)


@pytest.mark.parametrize("name", BUILT)
def test_the_list_of_commands_shows_the_help_of_each(name: str) -> None:
    assert COMMANDS[name].line == load(name).help.splitlines()[0]


def test_help_lists_all_commands_without_importing_them() -> None:
    code = """
import sys
sys.argv = ["cdc", "--help"]
from cdc.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
heavy = {"psycopg", "sqlalchemy", "alembic", "aiohttp", "pydantic", "orjson"} & set(sys.modules)
print("heavy:", heavy or "none")
"""
    done = python(code)
    assert "heavy: none" in done.stdout
    assert all(f" {name} " in done.stdout for name in BUILT)


# Packages of others that a daemon may import before it is ready: each takes time, at each start.
AT_START = {
    *("aiohappyeyeballs", "annotated_types", "cffi", "httptools", "idna", "orjson"),
    *("prometheus_client", "psycopg", "psycopg_binary", "pycares", "pydantic", "pydantic_core"),
    *("shellingham", "structlog", "typer", "typing_extensions"),
    *("typing_inspection", "uvloop", "click", "annotated_doc"),
    "greenlet",  # by structlog, where it is installed: the browser of the tests brings it
}
# What is for commands, for an error, or for what is rarely configured.
NOT_AT_START = {
    *("cdc.capture", "cdc.daemon.mail", "cdc.daemon.supervisor", "cdc.diagnosis.doctor"),
    *("cdc.sandbox", "cdc.schema.tables", "cdc.telemetry.http", "cdc.telemetry.otel", "cdc.web"),
    "email.policy",
}


def test_a_daemon_imports_little_before_it_is_ready() -> None:
    """Not SQLAlchemy, Alembic, rich, pygments: those are for commands. Not aiohttp: it is for
    health and metrics, where their port is configured."""
    code = """
import sys
sys.argv = ["cdc", "run"]
import cdc.cli, cdc.cli.run, cdc.settings, cdc.daemon.app, cdc.diagnosis.exposed_files
import uvloop
of_others = {
    name.partition(".")[0] for name, module in sys.modules.items()
    if "site-packages" in (getattr(module, "__file__", None) or "")
}
print("imported:", *sorted(name for name in of_others if not name.startswith("_")))
print("all:", *sys.modules)
"""
    imported, _, modules = python(code).stdout.partition("imported: ")[2].partition("all: ")
    assert imported, "it was not asked"
    assert set(imported.split()) <= AT_START
    assert not NOT_AT_START & {*modules.split()}


def test_a_daemon_does_not_look_for_garbage_where_rows_come() -> None:
    """Rows are in no circle; to look through 10,000 of them takes tens of milliseconds."""
    code = """
import gc
from datetime import UTC, datetime
from cdc.cli.run import _run
from cdc.lanes.capacity import Capacity
from cdc.lanes.order import ResourceOrder
from cdc.model import Delivery, Layout

looked = []
layout = Layout(1, "candidate_changed", ("base", "company", "candidate"))

async def take_in() -> None:
    gc.callbacks.append(lambda phase, info: looked.append(info["generation"]))
    order = ResourceOrder(Capacity())
    for number in range(12_000):
        refs = (None, "1", str(number))
        now = datetime.now(UTC)
        row = Delivery(number, 1, 1, f"uid {number}", layout, "modified", now, refs)
        order.add((number, row.uid), row, row.resource)
    print("rows:", order.waiting, "looked:", len(looked))

_run(take_in())
"""
    assert python(code).stdout == "rows: 12000 looked: 0\n"


@pytest.mark.parametrize("name", BUILT)
def test_every_command_has_help(name: str) -> None:
    assert Command().good(name, "--help").out


def test_the_default_mapping_is_printed_to_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(Command().good("mapping", "default").out)
    events = Command({"CDC_MAPPING": str(path)}).json("events")
    assert [one["event"] for one in events] == list(default_mapping().events)
    assert events[1]["table"] == "public.candidate"
    assert events[1]["data"] == ["action", "project", "candidate"]
    assert "rating_changed" in Command().good("events").out


def test_a_guide_that_is_named_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = Command().good("config", "show").err
    named = re.search(r"(/\S+/docs/configuration\.md) explains", said)
    assert named
    assert Path(named[1]).exists()


def test_version() -> None:
    assert Command().good("--version").out == f"cdc {__version__}\n"


def test_an_unknown_command_is_wrong_usage_and_names_the_likely_one() -> None:
    done = Command()("webhok", "list")
    assert done.code == 2
    assert "'webhook'" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "delivery list --webhook x",
            "'--webhook': expected a whole number, found 'x'; `cdc webhook list` shows the numbers",
        ),
        ("webhook pause 1.5", "'ID': expected a whole number, found '1.5'; `cdc webhook list`"),
        ("contact remove x", "'ID': expected a whole number, found 'x'"),
        ("audit --limit 0", "'--limit': expected at least 1, found '0'"),
        ("receive --port 99999", "'--port': expected at most 65535, found '99999'"),
        ("webhook add --company 1 --url x --rate x", "'--rate': expected a number, found 'x'"),
        ("catalog --format x", "'--format': 'x' is not one of 'markdown', 'jsonschema', 'openapi'"),
    ],
)
def test_a_value_that_is_refused_is_named_with_what_was_expected(
    arguments: str, message: str
) -> None:
    done = Command()(*arguments.split())
    assert done.code == 2
    assert f"Invalid value for {message}" in done.err


@pytest.mark.parametrize("command", ["audit", "backfill list", "delivery list", "notice list"])
def test_a_webhook_that_never_was_is_named(database: str, command: str) -> None:
    number = "99999999999999999999"
    cdc = Command({"CDC_DATABASE_URL": database})
    assert cdc(*command.split(), "--webhook", number).err == (
        f"error: unknown webhook {number}\n  `cdc webhook list` shows all of them.\n"
    )


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "9999-12-31T23:59-12:00"])
def test_a_time_that_cannot_be_counted_with_is_wrong_usage(database: str, text: str) -> None:
    done = Command({"CDC_DATABASE_URL": database})("audit", "--since", text)
    assert (done.code, done.err) == (
        2,
        f"error: invalid time {text!r}: expected a year from 1970 to 9998\n",
    )


def test_a_database_that_is_down_is_reported_without_traceback() -> None:
    done = run("webhook", "list", CDC_DATABASE_URL="postgresql://me:hush@127.0.0.1:1/nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the database cannot be reached" in done.stderr
    assert "CDC_DATABASE_URL" in done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_terminal_cannot_show_is_replaced(database: str, encoding: str) -> None:
    """A webhook's description ended the list with a traceback."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "insert into cdc.webhook (company, endpoint, description)"
            " values ('1', 'https://x/', 'Büro \u2192 \u6771\u4eac')"
        )
    variables = {"CDC_DATABASE_URL": database, "PYTHONIOENCODING": encoding}
    done = run("webhook", "list", **variables)
    assert done.returncode == 0, done.stderr
    assert re.search(r"B.ro \? \?\?", done.stdout)
    done = run("webhook", "list", "--json", **variables)
    assert json.loads(done.stdout)[0]["description"] == "Büro \u2192 \u6771\u4eac"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "CDC_DATABASE_URL"),
        ("", "CDC_DATABASE_URL"),
        ("postgresql://127.0.0.1:1/db?sslmode=what", "sslmode"),
    ],
)
def test_an_invalid_address_is_reported(url: str, message: str) -> None:
    assert message in Command({"CDC_DATABASE_URL": url}).refused("status")


@pytest.mark.parametrize(
    "command",
    ["migrate", "adopt", "triggers plan", "webhook list", "delivery list", "status", "doctor"],
)
def test_a_missing_database_is_reported_by_every_command(command: str) -> None:
    cdc = Command({"CDC_DATABASE_URL": "host=127.0.0.1 port=1 dbname=nothing"})
    assert "cannot be reached" in cdc.refused(*command.split())


def test_without_schema_the_first_step_is_named(empty_database: str) -> None:
    cdc = Command({"CDC_DATABASE_URL": empty_database})
    for command in ("triggers install", "triggers off", "webhook list", "delivery list", "adopt"):
        assert "cdc migrate" in cdc.refused(*command.split())
    done = cdc("status", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    done = cdc("doctor", "--json")
    assert done.code == 1
    verdicts = [(c["check"], c["verdict"]) for c in done.json["checks"]]
    assert verdicts == [("server", "ok"), ("encoding", "ok"), ("schema", "fail")]


def test_settings_come_from_the_file_that_is_named(database: str, tmp_path: Path) -> None:
    file = tmp_path / "cdc.toml"
    file.write_text(f"database_url = {json.dumps(database)}\nwebhooks_per_company = 7\n")
    shown = Command().json("--config", file, "config", "show")
    assert shown["webhooks_per_company"] == {
        "value": "7",
        "source": "file",
        "env": "CDC_WEBHOOKS_PER_COMPANY",
    }
    assert Command().json("--config", file, "webhook", "list") == []


def test_output_can_be_cut_off(database: str) -> None:
    code = "from cdc.cli import main; import sys; sys.argv = ['cdc', 'migrate', '--sql']; main()"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CDC_")}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
