"""Checks of the way out: doorbell, daemons, endpoints, secrets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from cdc.causes import cause_of
from cdc.deliver.dns import lookup
from cdc.deliver.guard import Guard
from cdc.deliver.outcome import ProxyFailed
from cdc.deliver.proxy import Proxy
from cdc.deliver.trust import Trust
from cdc.diagnosis import health
from cdc.diagnosis.doctor.check import Check, Patient, Result, fail, ok, warn
from cdc.diagnosis.exposed_files import exposed
from cdc.diagnosis.health.problems import of_daemons, of_deliveries
from cdc.errors import CdcError
from cdc.model import SHARDS
from cdc.webhooks.vault import Vault
from cdc.wording import counted

_LEADS_ELSEWHERE = (
    "See that its name can be resolved; or permit its address: CDC_ALLOWED_NETWORKS, "
    "CDC_DENIED_NETWORKS. Or correct"
)
_HOSTS = 200  # names looked up; the guard asks again whenever it dials
_AT_ONCE = 32


def doorbell(see: Patient) -> Result:
    """the doorbell is off where prepared transactions forbid it"""
    (prepared,) = see.row("select current_setting('max_prepared_transactions')::int")
    wanted = see.settings.doorbell
    if wanted == "on" and prepared:
        return fail(
            f"the doorbell is on, and max_prepared_transactions is {prepared}: PREPARE refuses "
            "transactions that have sent NOTIFY",
            "Set CDC_DOORBELL=auto, unless no application uses prepared transactions.",
        )
    if wanted == "off" or prepared:
        why = "switched off" if wanted == "off" else f"silent: max_prepared_transactions {prepared}"
        return ok(f"{why}; changes are found within a second")
    return ok("writers wake a sleeping daemon")


def daemons(see: Patient) -> Result:
    """daemons run, own all webhooks, and can write their logs"""
    members, owners, strangers = health.fleet(see.conn)
    for problem in of_daemons(members, owners, strangers):
        return fail(problem.text, problem.todo)
    return ok(f"{counted(members, 'daemon')} with all shards")


def backlog(see: Patient) -> Result:
    """nothing is late, dead, expired or about to expire; no webhook is suspended"""
    lanes = health.lanes(see.conn)
    owned = {shard for daemon in health.fleet(see.conn)[1] for shard in daemon.shards}
    wrong = [lane for lane in lanes if lane.late or lane.refused_here]
    late = [lane for lane in wrong if lane.error or lane.webhook_id % SHARDS in owned]
    found = list(
        of_deliveries(
            lanes,
            late,
            health.expired(see.conn),
            see.settings.held_days,
            health.details(see.conn, late),
        )
    )
    if not found and wrong:
        what = counted(len(wrong), "webhook waits for a daemon", "webhooks wait for a daemon")
        return fail(what, "See the check 'daemons'.")
    if not found:
        return ok("nothing is late, dead, or about to expire")
    more = f"; and {len(found) - 1} more, which `cdc status` lists" if len(found) > 1 else ""
    return fail(f"{found[0].text}{more}", found[0].todo)


def endpoints(see: Patient) -> Result:
    """the addresses of all endpoints can be resolved, and are allowed"""
    guard = Guard.of(see.settings)
    rows = see.rows(
        "select id, endpoint from cdc.webhook where state in ('active', 'paused') order by id"
    )
    bad: dict[int, tuple[str, str]] = {}
    names: dict[str, int] = {}
    for number, endpoint in rows:
        try:
            guard.check_url(endpoint)
        except CdcError as error:
            cause = cause_of("guard", detail=f"{error.message}. {error.hint}")
            bad[number] = cause.text, f"{cause.todo} Or correct"
        else:
            names.setdefault(endpoint, number)
    chosen = dict(list(names.items())[:_HOSTS])
    for endpoint, note in asyncio.run(_previews(guard, list(chosen))):
        bad[chosen[endpoint]] = note, _LEADS_ELSEWHERE
    if bad:
        number, (text, todo) = min(bad.items())
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        return warn(
            f"webhook {number} cannot be called: {text}{more}",
            f"{todo} the endpoint: `cdc webhook update {number} --url URL`.",
        )
    return ok(f"{counted(len(rows), 'endpoint')} may be called")


def secrets(see: Patient) -> Result:
    """every webhook has a valid signing secret"""
    rows = see.rows(
        "select w.id from cdc.webhook w where w.state <> 'removed' and not exists ("
        " select from cdc.webhook_secret s where s.webhook_id = w.id"
        " and (s.expires_at is null or s.expires_at > clock_timestamp()))"
    )
    if not rows:
        return ok("every webhook has a valid signing secret")
    return fail(
        f"{counted(len(rows), 'webhook')} without a signing secret, such as {rows[0][0]}: nothing "
        "can be signed",
        "`cdc webhook rotate-secret ID` makes one.",
    )


def encryption(see: Patient) -> Result:
    """secrets are encrypted, and can be read with the keys that are set here"""
    vault = Vault(see.settings.secret_keys)
    rows = see.rows(
        "select w.id, w.endpoint, w.headers, array(select s.secret from cdc.webhook_secret s"
        " where s.webhook_id = w.id"
        " and (s.expires_at is null or s.expires_at > clock_timestamp()))"
        " from cdc.webhook w where w.state <> 'removed' order by w.id"
    )
    closed: list[int] = []
    problem: CdcError | None = None
    behind = 0
    for number, endpoint, headers, secrets in rows:
        texts = [*headers.values(), *secrets]
        try:
            vault.open_endpoint(endpoint)
            for text in texts:
                vault.open(text)
        except CdcError as error:
            closed.append(number)
            problem = problem or error
        else:
            behind += not (vault.holds_endpoint(endpoint) and all(map(vault.holds, texts)))
    if problem is not None:
        named = ", ".join(map(str, closed[:10]))
        return fail(
            f"{counted(len(closed), 'webhook')} held ({named}): {problem.message}", problem.hint
        )
    if not vault.locked:
        return warn(
            "secrets are not encrypted in the database and its backups",
            "Set CDC_SECRET_KEYS (`cdc config new-key`), then `cdc webhook reencrypt-secrets`.",
        )
    if behind:
        return warn(
            f"{counted(behind, 'webhook')} not encrypted with the newest key",
            "`cdc webhook reencrypt-secrets`; until then keep all keys.",
        )
    return ok("secrets are encrypted with the newest key")


def tls(see: Patient) -> Result:
    """the certificates for all webhooks, and of the TLS profiles in use, can be used and do not end
    within 14 days"""
    rows = see.rows(
        "select distinct tls_profile from cdc.webhook"
        " where state <> 'removed' and tls_profile is not null order by 1"
    )
    used = [profile for (profile,) in rows]
    trust = Trust.of(see.settings)
    doubts = trust.doubts([None, *used], datetime.now(UTC))
    if not any(doubt.bad for doubt in doubts) and (none := trust.authorities()) is not None:
        doubts.append(none)
    for doubt in sorted(doubts, key=lambda doubt: not doubt.bad):
        return (fail if doubt.bad else warn)(doubt.message, doubt.hint)
    return ok(f"the certificates can be used; {counted(len(used), 'profile')} in use")


def files(see: Patient) -> Result:
    """files on this host that hold secrets may be read by their owner only"""
    found = exposed(see.settings)
    if not found:
        return ok("files with secrets may be read by their owner only")
    more = f"; and {len(found) - 1} more, such as {found[1].path}" if len(found) > 1 else ""
    return warn(found[0].message + more, found[0].hint)


def proxy(see: Patient) -> Result:
    """the proxy (`CDC_PROXY`) takes connections, where one is set"""
    url = see.settings.proxy
    if url is None:
        return ok("endpoints are called directly")
    through = Proxy(url)
    try:
        asyncio.run(through.reach(partial(lookup, limit=3.0, search=True), 3.0))
    except ProxyFailed as error:
        return fail(error.message, "Correct CDC_PROXY, or find out why the proxy is down.")
    return ok(f"endpoints are called through {through.name}")


async def _previews(guard: Guard, endpoints: list[str]) -> list[tuple[str, str]]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(endpoint: str) -> list[tuple[str, str]]:
        async with gate:
            return [(endpoint, note) for note in await guard.preview(endpoint)]

    found = await asyncio.gather(*map(one, endpoints))
    return [note for notes in found for note in notes]


CHECKS: dict[str, Check] = {
    "doorbell": doorbell,
    "daemons": daemons,
    "backlog": backlog,
    "endpoints": endpoints,
    "proxy": proxy,
    "tls": tls,
    "files": files,
    "secrets": secrets,
    "encryption": encryption,
}
