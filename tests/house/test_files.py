"""Rules that every file keeps."""

from __future__ import annotations

import ast
import re

from tests.house.files import TOP, files, name

# The hosts of package indexes: a clone installs from whatever index the machine is set up with.
INDEX_HOSTS = re.compile(r"[p]ypi\.org|[p]ythonhosted|[r]egistry\.npmjs|[d]eb\.debian\.org")
SILENCED = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[^]]*\])?|fmt:\s*off)(.*)"
)
# ruff keeps Python at 100; prose may be wider, and neither tables nor addresses can be broken.
WIDEST_LINE = 140
UNBREAKABLE = re.compile(r"^\s*\||https?://\S{60}")
LONGEST_PYTHON = 350
OF_THE_DAEMON = ("cdc/daemon/", "cdc/lanes/", "cdc/deliver/", "cdc/telemetry/")
CONSTANTS = re.compile(r"([A-Z][A-Z0-9_]+(?:, [A-Z][A-Z0-9_]+)*)(?:: [^=]+)? = ")


def test_lines_fit_on_a_screen() -> None:
    wide = [
        f"{name(path)}:{number}"
        for path in files(".md", ".sql", ".toml", ".yml", ".yaml", ".txt", "")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > WIDEST_LINE and not UNBREAKABLE.search(line)
    ]
    assert not wide


def test_no_package_index_is_named() -> None:
    assert not [
        name(path) for path in files() if INDEX_HOSTS.search(path.read_text("utf-8", "replace"))
    ]


def test_python_files_hold_one_idea() -> None:
    long = {
        name(path): lines
        for path in files(".py")
        if (lines := len(path.read_text("utf-8").splitlines())) > LONGEST_PYTHON
    }
    assert not long


def test_a_silenced_check_says_why() -> None:
    """The reason stands behind it on the line, or in a comment just above."""
    bare = []
    for path in files(".py"):
        above = ""
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            found = SILENCED.search(line)
            if found and not found[1].strip(" #:-") and not above.startswith("#"):
                bare.append(f"{name(path)}:{number}")
            above = line.strip()
    assert not bare


def test_every_query_is_used() -> None:
    code = "\n".join(path.read_text("utf-8") for path in files(".py"))
    # A name may be put together, as in f"settle_{kind}".
    prefixes = tuple(re.findall(r"""f["']([a-z]+_)\{""", code))
    unused = [
        name(path)
        for path in (TOP / "sql" / "queries").glob("*.sql")
        if not re.search(rf"""["']{path.stem}["']""", code) and not path.stem.startswith(prefixes)
    ]
    assert not unused


def test_the_daemon_has_no_statement_in_its_code() -> None:
    """They are files of sql/queries, where their plans are tested."""
    statement = re.compile(r"\s*(with|select|insert|update|delete) .*", re.DOTALL)
    for path in (TOP / "cdc" / "daemon").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
                text = node.value if isinstance(node.value, str) else node.value.decode()
                assert not statement.fullmatch(text), f"{name(path)}:{node.lineno}"


def test_no_constant_of_the_daemon_is_defined_elsewhere_too() -> None:
    """One name, one meaning: what it limits, and in which unit."""
    places: dict[str, list[str]] = {}
    for path in files(".py"):
        if name(path).startswith("cdc/"):
            for line in path.read_text("utf-8").splitlines():
                if made := CONSTANTS.match(line):
                    for constant in made[1].split(", "):
                        places.setdefault(constant, []).append(name(path))
    assert not {
        constant: where
        for constant, where in places.items()
        if len(where) > 1 and any(file.startswith(OF_THE_DAEMON) for file in where)
    }


def test_nothing_of_ours_waits_in_a_way_that_loses_cancellations() -> None:
    """asyncio.wait_for on Python 3.11 swallows one that comes together with what is waited for."""
    assert not [
        name(path)
        for path in files(".py")
        if name(path).startswith("cdc/") and "asyncio.wait_for(" in path.read_text("utf-8")
    ]


def test_no_class_name_is_there_twice() -> None:
    """A name is used for one thing: a reader need not ask which `Problem` it is."""
    where: dict[str, list[str]] = {}
    for path in files(".py"):
        if name(path).startswith("cdc/"):
            for found in re.findall(r"^ *class (\w+)", path.read_text("utf-8"), re.MULTILINE):
                where.setdefault(found, []).append(name(path))
    assert not {k: v for k, v in where.items() if len(v) > 1 and not k.startswith("_")}
