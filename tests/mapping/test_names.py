"""A resource may have the name of anything that the rendered SQL or PL/pgSQL has a word for."""

from __future__ import annotations

from cdc import migrations
from cdc.mapping import parse_mapping
from tests.capture.kit import Suite, bodies

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
