"""A resource may have the name of anything that the rendered SQL or PL/pgSQL has a word for."""

from __future__ import annotations

import re

import psycopg
import pytest

from cdc.capture import render
from cdc.mapping import default_mapping, parse_mapping
from cdc.mapping.names import folded
from cdc.schema import migrations
from tests.capture.kit import Suite, bodies, connect

# A road of eighteen tables: variables of the functions, aliases, key words, the columns' names.
NAMES = [
    "few", "captured", "unplaced", "problem", "queued", "happened", "wants", "placed", "wanted",
    "s", "t", "tg_op", "select", "order", "company_id", "source", "webhook_id", "refs",
]  # fmt: skip


def test_awkward_names_on_a_long_road(empty_database: str) -> None:
    text = (
        'base_url = "https://x.example/"\n[company]\ntable = "company"\nkey = "id"\n'
        'url = "{company}/"\n'
    )
    ddl = "create table company (id int primary key); insert into company values (1);"
    parent = "company"
    for name in NAMES:
        event = f'event = "{name}_changed"\ndata = ["{parent}", "{name}"]\n'
        text += (
            f"[resources.{name}]\ntable = '\"{name}\"'\nkey = '\"{name}\"'\n"
            f'parents = {{ {parent} = \'"up"\' }}\nurl = "{{{parent}}}{name}/{{{name}}}/"\n{event}'
        )
        key = "id" if parent == "company" else parent
        ddl += f'create table "{name}" ("{name}" int primary key,'
        ddl += f' "up" int references "{parent}" ("{key}"));'
        parent = name
    migrations.upgrade(empty_database)
    suite = Suite(empty_database, parse_mapping(text, "names.toml"))
    suite.run(ddl)
    suite.install()
    suite.register("1")
    for name in NAMES:
        suite.run(f'insert into "{name}" values (1, 1)')
    assert suite.unresolved() == []
    assert [row.event for row in suite.queued()] == [f"{name}_changed" for name in NAMES]
    road = "https://x.example/1/" + "".join(f"{name}/1/" for name in NAMES)
    assert (
        suite.posts()[-1]
        == bodies(
            f"""
        {{"endpoint": "https://abc.com/hook", "time": "<time>", "event": "refs_changed", "data":
        {{"action": "created", "webhook_id": "{road.removesuffix("refs/1/")}", "refs": "{road}"}}}}
        """
        )[0]
    )
    suite.clear()
    # Also by joins, and after a schema that was broken was mended.
    suite.run('insert into "refs" select g, 1 from generate_series(2, 100) g')
    suite.run('alter table "few" rename to "fewer"; update "refs" set "up" = 1 where "refs" = 1')
    suite.run('alter table "fewer" rename to "few"')
    assert suite.resolve() == 1
    assert len(suite.queued()) == 100
    suite.close()


def words() -> list[str]:
    """All words of the rendered SQL: aliases, variables, columns, functions, key words."""
    mapping = default_mapping()
    rating = mapping.resources["rating"]
    code = re.sub(r"--.*", "", "".join(f.body for f in render.functions(mapping, rating)))
    return sorted(set(re.findall(r"[a-z_][a-z0-9_]*", code)) - set(mapping.resources))


def is_function_of_a_row(url: str, name: str) -> bool:
    """own."row_to_json" is that function's result where there is no such column: a column of this
    name that is gone under the mapping is not missed."""
    with connect(url) as conn:
        try:
            conn.execute(f'select own."{name}" from (select 1 as x) own'.encode())
        except psycopg.Error:
            return False
    return True


def test_columns_and_tables_named_after_every_word_of_the_rendered_sql(
    empty_database: str,
) -> None:
    """Each table has all of them as columns; it takes its name and key from one, the column that
    leads to its parent from the next. Captured at once, in bulk, and late."""
    names = words()
    named = [name for name in names if not is_function_of_a_row(empty_database, name)]
    tables = list(zip(named[::2], named[1::2], strict=False))
    text = (
        'base_url = "https://x.example/"\n[company]\ntable = "firm"\nkey = "id"\n'
        'base_url_column = "own"\nurl = "{company}/"\n'
    )
    every = ", ".join(f'"{name}" text' for name in names if name != "id")
    ddl = f"create schema a; create table firm (id int primary key, {every});"
    ddl += "insert into firm values (1);"
    for number, (word, up) in enumerate(tables):
        text += (
            f"[resources.r{number}]\ntable = 'a.\"{word}\"'\nkey = '\"{word}\"'\n"
            f'parents = {{ company = \'"{up}"\' }}\nurl = "{{company}}{{r{number}}}/"\n'
            f'event = "r{number}_changed"\n'
        )
        others = ", ".join(f'"{name}" text' for name in names if name not in (word, up))
        ddl += f'create table a."{word}" ("{word}" int primary key, "{up}" int, {others});'
    migrations.upgrade(empty_database)
    suite = Suite(empty_database, parse_mapping(text, "names.toml"))
    suite.run(ddl)
    suite.install()
    suite.register("1")
    wrong = {}
    for word, up in tables:
        table = f'a."{word}"'
        insert = f'insert into {table} ("{word}", "{up}")'
        suite.run(f"{insert} values (1, 1); {insert} select g, 1 from generate_series(2, 66) g;")
        at_once = len(suite.queued())
        # Firm 2 comes at the end of the transaction: the rows are captured late.
        suite.run(
            f"{insert} values (67, 2); {insert} select g, 2 from generate_series(68, 132) g;"
            " update firm set id = 2"
        )
        suite.resolve()
        waiting = len(suite.unresolved())
        suite.run("update firm set id = 1")
        suite.run(f'alter table {table} rename "{word}" to other_name')
        suite.run(f'insert into {table} (other_name, "{up}") values (134, 1)')
        suite.run(f'alter table {table} rename other_name to "{word}"')
        seen = (at_once, waiting, suite.resolve(), suite.unresolved())
        if seen != (66, 0, 1, []):
            wrong[word] = seen, suite.all("select reason from cdc.unresolved limit 1")
        suite.clear()
    suite.close()
    assert wrong == {}


@pytest.mark.parametrize("name", ["İndex", "STRAẞE", "ÄRGER_X", "Über$1"])
def test_names_are_folded_as_postgresql_does(name: str, admin: psycopg.Connection) -> None:
    """In UTF-8 the letters A to Z, and no others."""
    [column] = admin.execute(f"select 1 as {name}".encode()).description or []
    assert folded(name) == column.name
