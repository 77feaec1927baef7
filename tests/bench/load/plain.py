"""The baseline with a database: what most people write, built to be as fast as it can be.

    python -m tests.bench.load.plain < {"url": "postgresql://...", "base": "...", ...}

A row trigger calls pg_notify(row_to_json), this process listens and posts each message with
aiohttp. No queue, no signature, no order, nothing is tried again: killed, it loses what was under
way. Notifications are read from libpq as soon as the socket is readable.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import orjson
import psycopg
import uvloop

from cdc.message.signing import OURS
from tests.bench.load import wire

CHANNEL = "bench"
TRIGGER = f"""
create function notify_change() returns trigger language plpgsql as $$
begin
  perform pg_notify('{CHANNEL}', row_to_json(new)::text);
  return null;
end
$$;
create trigger notify_change after insert or update on candidate
  for each row execute function notify_change();
"""


async def _run(url: str, base: str, connections: int) -> None:
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=connections)
    posts: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=60),
        auto_decompress=False,
    ) as session:

        async def post(payload: bytes) -> None:
            row = orjson.loads(payload)
            hook = row["project_id"]
            async with session.post(
                f"{base}{hook}", data=wire.body(base, hook, row["id"]), headers=OURS
            ) as response:
                await response.read()

        conn = psycopg.connect(url, autocommit=True)
        conn.execute(f"listen {CHANNEL}")
        raw = conn.pgconn

        def readable() -> None:
            raw.consume_input()
            while (message := raw.notifies()) is not None:
                task = asyncio.create_task(post(message.extra))
                posts.add(task)
                task.add_done_callback(posts.discard)

        loop.add_reader(conn.fileno(), readable)
        print("listening", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_run(**orjson.loads(sys.stdin.readline())))
