"""`cdc demo --keep`: stays up after the story, with lines to try."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from cdc.sandbox.demo.show import Show
from cdc.sandbox.demo.stage import Stage

_LOOK_EVERY = 0.2  # seconds between looks at the daemon and at what came


async def keep(stage: Stage, show: Show, stop: asyncio.Event) -> None:
    """Shows what arrives until it is stopped. Raises ProcessFailed when the daemon ends."""
    url, key = await stage.serve()
    portal = await _portal_link(url, key)
    show.how_to_play([*_how_to_play(stage), *_over_http(stage, url, key, portal)])
    received = stage.receiver.received
    shown = len(received)
    while not stop.is_set():
        stage.daemon.check()
        for got in received[shown:]:
            if got.status is None:
                break
            shown += 1
            # When COMMIT was sent is not known here, so it is the time of the change itself.
            came = stage.ledger.arrival(got)
            age = got.at.timestamp() - came.time / 1e6 if came.time else None
            show.post(got, age, known=came.webhook >= 0)
        try:
            async with asyncio.timeout(_LOOK_EVERY):
                await stop.wait()
        except TimeoutError:
            continue


async def _portal_link(url: str, key: str) -> str:
    """A link to the pages of company 1, made by the API."""
    asked = {"may": ["replay", "manage"]}
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers, raise_for_status=True) as http,
        http.post(f"{url}/v1/companies/1/portal-links", json=asked) as answer,
    ):
        link: str = (await answer.json())["url"]
    return f"{url}{urlsplit(link).path}"


def _how_to_play(stage: Stage) -> list[tuple[str, str]]:
    psql = stage.postgres.bin_dir / "psql"
    cdc = _cdc()
    exports = " ".join(f"{k}={shlex.quote(v)}" for k, v in stage.environment.items())
    mine = shlex.quote(stage.receiver.url("/mine"))
    return [
        (
            "It stays up until Ctrl-C. The suite's database, as its superuser:",
            f"{shlex.quote(str(psql)) if psql.is_file() else 'psql'} {shlex.quote(stage.dsn)}",
        ),
        ("Change something there, and see it arrive here:", "update rating set stars = 1;"),
        ("For cdc in another terminal:", f"export {exports}"),
        (
            "One more webhook, received here:",
            f"{cdc} webhook add --company 1 --event project_changed --url {mine}",
        ),
        (
            "Or a receiver of your own, which can fail on request. Register it in the same way, as "
            "http://127.0.0.1:8081/, and start it with the secret that this prints:",
            f"{cdc} receive --port 8081 --secret whsec_... --fail-first 1",
        ),
        ("What there is to see:", f"{cdc} status;  {cdc} webhook list;  {cdc} delivery list"),
    ]


def _over_http(stage: Stage, url: str, key: str, portal: str) -> list[tuple[str, str]]:
    """The console, and the API by curl."""
    curl = f"curl -s -H 'Authorization: Bearer '$CDC_API_KEY {url}/v1"
    new = json.dumps({"events": ["project_changed"], "endpoint": stage.receiver.url("/mine")})
    return [
        (
            "The console, for the helpdesk: open this, and click on Sign in.",
            f"{url}/console/sign-in#{key}",
        ),
        ("A company's own pages, by a link that works once, within 5 minutes:", portal),
        (
            "and another one:",
            f"CDC_SERVE_URL={url}/ {_cdc()} portal-link --company 1 --may replay --may manage",
        ),
        ("An administrator's key, for the API:", f"export CDC_API_KEY={key}"),
        ("The API, for programs: the webhooks of a company,", f"{curl}/companies/1/webhooks"),
        ("what was sent to the first of them,", f"{curl}/webhooks/1/deliveries"),
        (
            "and a new one, received here:",
            f"{curl}/companies/4/webhooks -H 'Content-Type: application/json' -d '{new}'",
        ),
    ]


def _cdc() -> str:
    """How to call cdc from another terminal: by the program beside our Python, if it is there."""
    beside = Path(sys.executable).with_name("cdc")
    return shlex.quote(str(beside)) if beside.is_file() else f"{shlex.quote(sys.executable)} -m cdc"
