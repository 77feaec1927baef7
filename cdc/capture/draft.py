"""A first mapping file, drafted from a database: its tables and foreign keys. Reads only.

What had to be guessed is marked with "guessed" in the file's comments; a person reads and corrects
it before `cdc triggers plan`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from cdc.capture.catalog import Connection
from cdc.capture.draft_words import segment, singular, snake
from cdc.errors import UsageError
from cdc.mapping import Table, written
from cdc.mapping.addresses import NOT_IN_BRACES
from cdc.mapping.load import NAME, TAKEN
from cdc.mapping.model import COMPANY
from cdc.wording import printable

_TABLES = """
select c.oid, n.nspname::text, c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
   and n.nspname not in ('pg_catalog', 'information_schema', 'cdc') and n.nspname !~ '^pg_'
   and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                     and d.objid = c.oid and d.deptype = 'e')
   and not exists (select from pg_inherits i where i.inhrelid = c.oid)
 order by 2, 3
"""
# A domain counts as what it is made of; a type that may be a key is marked so.
_COLUMNS = """
select a.attrelid, a.attname::text, a.attnotnull,
       b.typname::text, b.typname in ('int2', 'int4', 'int8', 'uuid', 'text', 'varchar')
                        or b.typtype = 'e'
  from pg_attribute a join pg_type t on t.oid = a.atttypid
  join pg_type b on b.oid = case t.typtype when 'd' then t.typbasetype else t.oid end
 where a.attrelid = any(%s) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
"""
# Primary keys, and columns that are unique alone.
_KEYS = """
select i.indrelid, array_agg(a.attname::text order by k.place), i.indisprimary
  from pg_index i
 cross join lateral unnest(i.indkey::smallint[]) with ordinality k (attnum, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
 where i.indrelid = any(%s) and k.place <= i.indnkeyatts
   and (i.indisprimary or i.indisunique and i.indnkeyatts = 1 and i.indpred is null)
 group by i.indexrelid, i.indrelid, i.indisprimary
"""
_REFERENCES = """
select k.conrelid, k.confrelid, array_agg(a.attname::text order by u.place),
       array_agg(r.attname::text order by u.place)
  from pg_constraint k
 cross join lateral unnest(k.conkey, k.confkey) with ordinality u (attnum, refnum, place)
  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum
  join pg_attribute r on r.attrelid = k.confrelid and r.attnum = u.refnum
 where k.contype = 'f' and k.conparentid = 0 and k.conrelid = any(%s) and k.confrelid = any(%s)
 group by k.oid, k.conrelid, k.confrelid, k.conname
 order by k.conrelid, array_agg(a.attnum order by a.attnum desc), k.conname
"""

_COMPANIES = (
    *("company", "organization", "organisation", "tenant", "account", "customer", "client"),
    *("workspace", "team"),
)
"""Names of the table of companies, the likeliest first."""
_NAMES, _HOSTS = ("name", "title"), ("base_url", "api_host", "host", "hostname", "domain")


Columns = tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Source:
    """A table as the catalogue has it.

    columns:    name to (not null, name of its type, whether that type may be a key).
    key:        its columns, none where none can be one; ``guessed``: not all of the primary key.
    references: columns that lead to another table's key: (its oid, own columns).
    parents:    those of them that are used; ``spare``: the others, and why not.
    steps:      from the table of companies.
    """

    oid: int
    table: Table
    columns: dict[str, tuple[bool, str, bool]] = field(default_factory=dict)
    key: Columns = ()
    guessed: bool = False
    references: list[tuple[int, Columns]] = field(default_factory=list)
    parents: dict[_Source, Columns] = field(default_factory=dict)
    spare: list[tuple[Columns, str]] = field(default_factory=list)
    name: str = COMPANY
    steps: int = 0

    def required(self, columns: Columns) -> bool:
        return all(self.columns[column][0] for column in columns)

    def fit(self, column: str) -> bool:
        """Whether it can be one of a key; a mapping takes no name that cannot be printed."""
        return self.columns[column][2] and f"{self.table}{column}".isprintable()


def draft(conn: Connection, base_url: str, company: str | None = None) -> str:
    """The text of a mapping file.

    company: name of the table of companies, as SQL writes it; None: guessed.
    Raises UsageError where no table can be the companies', or where that one is not there.
    """
    sources = _read(conn)
    root, guessed = _company(sources, company)
    mapped = _leading_to(root, sources)
    _named(mapped)
    mapped = _link(root, mapped)
    lines = [
        "# A first mapping, drafted from the tables and foreign keys of a database. What is marked",
        '# "guessed" may be wrong, and events that no receiver wants are better left out. `cdc',
        "# triggers plan` checks it against the database.",
        "",
        f"base_url = {_text(base_url)}",
        "",
        "[company]",
        *([f"# guessed: {printable(guessed)}"] if guessed else []),
        f"table = {_text(_table(root.table))}",
        f"key = {_columns(root.key)}",
        f'url = "{segment(_company_word(root))}/{{company}}/"',
        *_company_columns(root),
        "",
    ]
    for source in mapped:
        lines += [*_resource(source, mapped), ""]
    left = [s for s in sources.values() if s is not root and s not in mapped]
    if left:
        lines += [
            "# Not mapped: no foreign key leads from these tables to the company, or their primary",
            "# key has a type, or a name, that cannot be one here.",
            *(f"#   {printable(_table(source.table))}" for source in left),
        ]
    return "\n".join(lines).rstrip() + "\n"


def _read(conn: Connection) -> dict[int, _Source]:
    found = conn.execute(_TABLES.encode()).fetchall()
    sources = {oid: _Source(oid, Table(schema, name)) for oid, schema, name in found}
    oids = list(sources)
    for oid, name, required, kind, fit in conn.execute(_COLUMNS.encode(), [oids]):
        sources[oid].columns[name] = (required, kind, fit)
    keys = conn.execute(_KEYS.encode(), [oids]).fetchall()
    links = conn.execute(_REFERENCES.encode(), [oids, oids]).fetchall()
    for oid, names, is_primary in keys:
        if not is_primary:
            continue
        source = sources[oid]
        alone = [one for other, (one, *_), primary in keys if other == oid and not primary]
        # One column, if it is unique alone; else those of the primary key that can be a key's.
        able = tuple(name for name in names if source.fit(name))
        source.key = next(((name,) for name in able if name in alone), able)
        source.guessed = source.key == able != tuple(names)
        if len(source.key) > 1 and any(set(name) & NOT_IN_BRACES for name in source.key):
            source.key = ()
    for oid, parent, own, theirs in links:
        key = sources[parent].key
        if key and {*key} <= {*theirs} and "".join(own).isprintable():
            columns = tuple(own[theirs.index(column)] for column in key)
            if (parent, columns) not in sources[oid].references:
                sources[oid].references.append((parent, columns))
    return sources


def _company(sources: dict[int, _Source], given: str | None) -> tuple[_Source, str]:
    """The table of companies, and why that one if it was guessed."""
    usable = [source for source in sources.values() if len(source.key) == 1]
    if given is not None:
        for source in usable:
            if given in (_table(source.table), str(source.table), source.table.name):
                return source, ""
        near = ", ".join(_table(source.table) for source in usable[:20]) or "none"
        raise UsageError(
            f"unknown table '{given}': expected one with a primary key of one column",
            f"Tables with one: {near}.",
        )
    reach = {source.oid: len(_leading_to(source, sources)) for source in usable}
    likely = [source for source in usable if reach[source.oid]]
    if not likely:
        raise UsageError(
            "no table can be the companies': no foreign key leads to any table",
            "Write the mapping by hand: `cdc mapping default` prints one to begin with.",
        )

    def rank(source: _Source) -> tuple[int, int]:
        word = _company_word(source)
        known = _COMPANIES.index(word) if word in _COMPANIES else len(_COMPANIES)
        return (known, -reach[source.oid])

    best = min(likely, key=rank)
    others = [_table(s.table) for s in sorted(likely, key=rank) if s is not best][:3]
    why = f"{reach[best.oid]} tables lead to it by foreign keys"
    return best, why + (f"; others are {', '.join(others)}" if others else "")


def _company_word(source: _Source) -> str:
    """``accounts_company``: company."""
    name = snake(source.table.name)
    last = singular(name.rpartition("_")[2])
    return last if last in _COMPANIES else singular(name)


def _leading_to(root: _Source, sources: dict[int, _Source]) -> list[_Source]:
    """Tables from which foreign keys lead to ``root``, the nearest first."""
    root.steps = 0
    reached = {root.oid}
    front = {root.oid}
    order: list[_Source] = []
    while front:
        children = [
            source
            for source in sources.values()
            if source.key
            and source.oid not in reached
            and any(parent in front for parent, _ in source.references)
        ]
        for source in children:
            source.steps = 1 + max(sources[p].steps for p, _ in source.references if p in front)
        order += children
        front = {source.oid for source in children}
        reached |= front
    return order


def _named(mapped: list[_Source]) -> None:
    """Gives each a name of its own: its table's, singular, without the prefix of an application."""
    plain = {source.oid: snake(source.table.name) for source in mapped}
    singulars = {singular(name) for name in plain.values()}
    prefixes = [name.split("_", 1)[0] for name in plain.values() if "_" in name]
    taken: set[str] = {COMPANY}
    for source in mapped:
        full = plain[source.oid]
        head, _, rest = full.partition("_")
        shared = rest and prefixes.count(head) > 1 and singular(head) not in singulars
        names = [singular(rest)] if shared else []
        names += [singular(full), snake(f"{source.table.schema}_{full}")]
        free = (n for n in names if NAME.fullmatch(f"{n}_changed") and n not in {*TAKEN, *taken})
        source.name = next(free, f"resource_{len(taken)}")
        taken.add(source.name)


def _link(root: _Source, mapped: list[_Source]) -> list[_Source]:
    """Chooses the parents of each, and sorts them so that each comes after its parents."""
    known = {one.oid: one for one in (root, *mapped)}
    links = [(one, known[p], c) for one in mapped for p, c in one.references if p in known]
    # The nearest to the company first, then those that are never null.
    for child, parent, columns in sorted(
        links, key=lambda link: (link[1].steps, not link[0].required(link[2]))
    ):
        if parent in child.parents:
            child.spare.append((columns, f"{parent.name}, too"))
        elif child is parent or child in _above(parent):
            child.spare.append((columns, f"{parent.name}: that would be a cycle"))
        else:
            child.parents[parent] = columns
    return sorted(mapped, key=lambda one: len(_above(one)))


def _above(source: _Source) -> list[_Source]:
    """All its ancestors but for the company."""
    found: list[_Source] = []
    todo = [source]
    while todo:
        for parent in todo.pop().parents:
            if parent.steps and parent not in found:
                found.append(parent)
                todo.append(parent)
    return found


def _resource(source: _Source, mapped: list[_Source]) -> Iterable[str]:
    # The address begins with that of the nearest parent whose columns are never null.
    way, columns = max(source.parents.items(), key=lambda p: (source.required(p[1]), p[0].steps))
    above = _above(source)
    data = [one.name for one in mapped if one in above] + [source.name]
    parents = ", ".join(f"{p.name} = {_columns(c)}" for p, c in source.parents.items())
    yield f"[resources.{source.name}]"
    yield f"table = {_text(_table(source.table))}"
    if source.guessed:
        yield "# guessed: not all of the primary key; its other columns cannot be part of one here"
    yield f"key = {_columns(source.key)}"
    yield f"parents = {{ {parents} }}"
    for spare, why in source.spare:
        lead = "leads" if len(spare) == 1 else "lead"
        yield f"# not used: {printable(', '.join(map(written, spare)))} {lead} to {why}"
    url = _text(_address(source, way.name, columns))
    if source.required(columns) or not way.steps:
        yield f"url = {url}"
    else:
        to_company = next((c for p, c in source.parents.items() if not p.steps), ())
        yield f"url = [{url}, {_text(_address(source, COMPANY, to_company))}]"
    yield f'event = "{source.name}_changed"'
    yield f"data = [{', '.join(_text(name) for name in data)}]"
    if not any(source.required(columns) for columns in source.parents.values()):
        yield "# Rows may lead to no company. If that is right, their changes need not be kept:"
        yield "# optional = true"


def _address(source: _Source, parent: str, leading: Columns) -> str:
    """Below that of a parent, in whose address the columns that lead to it are already."""
    parts = [column for column in source.key if column not in leading]
    own = "".join(f"{{{n}}}/" for n in ([source.name] if len(source.key) == 1 else parts))
    return f"{{{parent}}}{segment(source.name)}/{own}"


def _company_columns(root: _Source) -> Iterable[str]:
    text = [name for name, (_, kind, _) in root.columns.items() if kind in ("text", "varchar")]
    host = next((name for name in _HOSTS if name in text), None)
    if host is not None:
        yield "# guessed: companies have a host of their own; null means base_url's"
        yield f"base_url_column = {_text(written(host))}"
    name = next((name for name in _NAMES if name in text), None)
    if name is not None:
        yield f"name = {_text(written(name))}"


def _table(table: Table) -> str:
    return written(table.name) if table.schema == "public" else written(table.schema, table.name)


def _text(text: str) -> str:
    """A string of TOML."""
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text)


def _columns(names: Columns) -> str:
    listed = [_text(written(name)) for name in names]
    return listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
