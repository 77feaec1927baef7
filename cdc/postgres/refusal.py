"""Why there is no connection, by codes and structure: a server's words are in its own language."""

from __future__ import annotations

import ctypes
import re
import select
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo

TOO_MANY_CONNECTIONS = "53300"
# The account, its password, its rights, the database, or a parameter in the address. Any other code
# may pass: a server that starts, one without a connection to spare, a database closed for a while.
_HOPELESS = ("28", "3D000", "42501", "42704", "22023")

_SQLSTATE_ALONE = 3  # PQERRORS_SQLSTATE of libpq
_CODE = re.compile(r":  ([0-9A-Z]{5})$", re.MULTILINE)

# libpq's own words say which value it does not know, not which it does.
_EXPECTED = {
    "sslmode": "disable, allow, prefer, require, verify-ca or verify-full",
    "target_session_attrs": "any, read-write, read-only, primary, standby or prefer-standby",
    "gssencmode": "disable, prefer or require",
    "channel_binding": "disable, prefer or require",
}


def hopeless(codes: Iterable[str]) -> bool:
    """Whether waiting will not help: a server that is up says no."""
    return any(code.startswith(_HOPELESS) for code in codes)


def sqlstates(conninfo: str, within: float = 5.0) -> list[str]:
    """Asks again for a connection; returns the codes with which servers refuse it. Blocks.

    Empty where no server answers, or where this libpq cannot be asked.

    psycopg has only the text of such an error. libpq makes that text, and can be asked to write the
    code alone.
    """
    conn = pq.PGconn.connect_start(conninfo.encode())
    try:
        if not _write_codes(conn):
            return []
        ends = time.monotonic() + within
        while conn.status != pq.ConnStatus.BAD:
            status = conn.connect_poll()
            if status == pq.PollingStatus.READING:
                wanted = select.POLLIN
            elif status == pq.PollingStatus.WRITING:
                wanted = select.POLLOUT
            else:
                break
            poll = select.poll()
            poll.register(conn.socket, wanted)
            if not poll.poll(max(0.0, ends - time.monotonic()) * 1000):
                return []
        if conn.needs_password:  # of which libpq has none: it hung up before the server could
            return ["28P01"]
        return _CODE.findall(conn.error_message.decode(errors="replace"))
    finally:
        conn.finish()


def _write_codes(conn: pq.abc.PGconn) -> bool:
    library, pointer = _libpq(), getattr(conn, "pgconn_ptr", None)
    if library is None or pointer is None:
        return False
    library.PQsetErrorVerbosity(pointer, _SQLSTATE_ALONE)
    return True


@cache
def _libpq() -> Any:
    """The libpq that psycopg has loaded."""
    mapped = Path("/proc/self/maps")
    for line in mapped.read_text().splitlines() if mapped.exists() else ():
        path = line.split(maxsplit=5)[-1]
        if path.rpartition("/")[2].startswith("libpq"):
            library = ctypes.CDLL(path)
            library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
            return library
    return None


def invalid(conninfo: str) -> str | None:
    """What in an address (and libpq's environment) no server can make right; None if nothing.

    Connects to nothing: libpq looks at all values before it dials, and here it dials a folder that
    does not exist.
    """
    given = conninfo_to_dict(conninfo)
    if "service" in given:
        return None
    try:
        timeout_from_conninfo(given)
    except Error:
        return f"invalid connect_timeout value: {given['connect_timeout']}; expected whole seconds"
    hosts = str(given.get("host") or given.get("hostaddr") or "").count(",") + 1
    conninfo = make_conninfo(conninfo, host=",".join(["/nonexistent"] * hosts), hostaddr="")
    conn = pq.PGconn.connect_start(conninfo.encode())
    values = {option.keyword.decode(): (option.val or b"").decode() for option in conn.info}
    message = conn.error_message.decode(errors="replace").strip()
    conn.finish()
    if pq.PGconn.ping(conninfo.encode()) == pq.Ping.NO_ATTEMPT:
        name = message.split(maxsplit=2)[1] if message.startswith("invalid ") else ""
        return message + (f"; expected {_EXPECTED[name]}" if name in _EXPECTED else "")
    return _wrong_port(values) or _no_authorities(values)


def _wrong_port(values: dict[str, str]) -> str | None:
    for port in values.get("port", "").split(","):
        if port and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
            return f"invalid port: {port}; expected a number from 1 to 65535"
    return None


def _no_authorities(values: dict[str, str]) -> str | None:
    """To verify the server's certificate needs certificates of authorities."""
    root = values.get("sslrootcert", "")
    if not values.get("sslmode", "").startswith("verify-") or root == "system":
        return None
    path = Path(root) if root else _home() / ".postgresql" / "root.crt"
    if path.exists():
        return None
    return (
        f"sslmode={values['sslmode']} needs the certificates of authorities, and the file {path} "
        f"does not exist; expected sslrootcert=FILE, or sslrootcert=system for the system's own"
    )


def _home() -> Path:
    """An account without a name, as containers have it, may have none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("~")
