"""A private PostgreSQL for the demo and the tests: no server to install, nothing left behind.

    with EmbeddedPostgres() as postgres:
        psycopg.connect(postgres.url())

binaries.py   where the programs come from, and a copy of them where an ordinary user can read it
user.py       the ordinary user that a root runs PostgreSQL as
folder.py     the private temporary folder, removed even after a kill
launch.py     becomes the server process: drops root, ties its life to ours
server.py     initdb, start, stop, restart, remove
"""

from cdc.sandbox.embedded.binaries import find_binaries
from cdc.sandbox.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "find_binaries"]
