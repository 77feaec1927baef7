"""One run: set the stage, let everything happen at once, drain, and hold the account."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
import psycopg

from cdc.sandbox.account import Account, Disturbances, account
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.records import Hook
from tests.faults import ledger, records, suite
from tests.faults.faults import Fault, Faults
from tests.faults.fleet import BUDGET, Fleet
from tests.faults.ledger import Ledger
from tests.faults.moods import MOODS, Moods, Spell
from tests.faults.peer import Peer
from tests.faults.silences import Silence, silences
from tests.faults.writers import Owed, Writers

DRAIN_WITHIN = 90.0
UNDER_WAY = 0.02
SETTLED_WITHIN = 20.0
IN_TIME = 400.0  # seconds for a run beyond its load: a hang is a failure with a report


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be.

    seconds: of load with faults at random.
    script:  these faults and bad times of the receiver, in this order, instead.
    steady:  seconds of load before the first of them.
    backlog: deliveries outstanding at which the writers wait.
    """

    seed: int
    seconds: float
    daemons: int = 3
    shape: suite.Shape = field(default_factory=suite.Shape)
    script: tuple[str, ...] = ()
    pause: tuple[float, float] = (0.2, 1.5)
    steady: float = 3.0
    backlog: int = 6000


@dataclass(slots=True)
class Result:
    """What a run came to.

    silent:   for each fault, the longest time that a webhook which was owed something got nothing.
    returned: for each take-over, when the first and the last webhook that the daemon had owned got
              something again, in seconds.
    wrong:  beyond the account: hangs, daemons that ended by themselves, rows left over.
    """

    plan: Plan
    folder: Path
    account: Account
    faults: list[Fault]
    silent: list[float | None]
    returned: list[tuple[str, float, float]]
    seconds: float
    transactions: int
    unknown_commits: int
    spells: int
    wrong: list[str]

    @property
    def clean(self) -> bool:
        return not self.account.violations and not self.wrong


Say = Callable[[str], None]


async def run(plan: Plan, folder: Path, say: Say) -> Result:
    """The whole of it. What it leaves in the (empty) folder is enough to hold the account again."""
    with EmbeddedPostgres(settings={"max_connections": "200", "log_checkpoints": "off"}) as server:
        try:
            return await _Run(plan, folder, say, server).carry_out()
        finally:
            (folder / "postgres.log").write_text(server.log_tail(2000))


class _Run:
    def __init__(self, plan: Plan, folder: Path, say: Say, server: EmbeddedPostgres) -> None:
        self.plan = plan
        self.folder = folder
        self.say = say
        self.server = server
        self.url = server.url()
        self.wrong: list[str] = []
        self.began = time.monotonic()
        self.wall = time.time() - time.monotonic()

    async def carry_out(self) -> Result:
        plan, shape, seed = self.plan, self.plan.shape, self.plan.seed
        mapping = suite.prepare(self.url, self.folder)
        keys = suite.furnish(self.url, shape)
        chance = random.Random(f"fleet {seed}")
        async with (
            Peer(self.folder, shape.webhooks, seed=seed) as peer,
            Fleet(self.url, self.folder, chance, mapping=mapping) as fleet,
        ):
            hooks, secrets, _ = suite.register(
                self.url, shape, peer, random.Random(f"hooks {seed}")
            )
            rejected = await _reject(hooks, keys, peer)
            self.keep(hooks, secrets, rejected)
            book = Ledger(self.folder / "ledger.jsonl")
            owed = Owed(hooks, rejected)
            writers = Writers(
                self.url,
                keys,
                book,
                owed,
                writers=shape.writers,
                backlog=lambda: owed.deliveries - sum(peer.counts.deliveries),
                most=plan.backlog,
                seed=seed,
            )
            faults = Faults(
                fleet,
                peer,
                self.server,
                writers,
                self.url,
                random.Random(f"faults {seed}"),
                self.say,
                daemons=plan.daemons,
                pause=plan.pause,
            )
            moods = Moods(peer, shape.webhooks, random.Random(f"moods {seed}"))
            for _ in range(plan.daemons):
                await fleet.start()
            await fleet.ready()
            progress = asyncio.create_task(self.progress(owed, peer, faults))
            try:
                async with asyncio.timeout(plan.steady + 2 * plan.seconds + IN_TIME):
                    await self.load(writers, faults, moods)
                    await self.drain(fleet, peer, owed)
                    await self.settled(rejected)
            except TimeoutError:
                self.wrong.append(
                    "hung: the run did not end in its time\n" + traceback.format_exc()
                )
            finally:
                progress.cancel()
                book.close()
            await fleet.check()
            self.wrong += fleet.ended_alone
            for daemon in list(fleet.daemons):
                await fleet.kill(daemon)
            await peer.flush()
            # On a machine that is busy with other things owners come late and lose what they own,
            # and answers come too late.
            amiss = [reported - self.wall for reported in fleet.amiss]
            return self.hold(hooks, secrets, rejected, faults.done, moods.spells, amiss, writers)

    async def load(self, writers: Writers, faults: Faults, moods: Moods) -> None:
        until = time.monotonic() + self.plan.steady + self.plan.seconds
        working = asyncio.create_task(writers.run())
        await asyncio.sleep(self.plan.steady)
        try:
            if self.plan.script:
                for name in self.plan.script:
                    await (moods.one(name) if name in MOODS else faults.one(name))
            else:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(faults.run(until))
                    tasks.create_task(moods.run(until))
        finally:
            writers.stop()
            async with asyncio.timeout(60):
                await working

    async def drain(self, fleet: Fleet, peer: Peer, owed: Owed) -> None:
        """Everything owed arrives, without more ado."""
        deadline = time.monotonic() + DRAIN_WITHIN
        self.say("draining")
        while peer.counts.deliveries != owed.by_webhook:
            await fleet.check()
            peer.check()
            if time.monotonic() > deadline:
                late = [
                    f"{n}: {got} of {wanted}"
                    for n, (got, wanted) in enumerate(
                        zip(peer.counts.deliveries, owed.by_webhook, strict=True)
                    )
                    if got != wanted
                ]
                self.wrong.append(f"hung: not drained {DRAIN_WITHIN:g} s after the load: {late}")
                self.wrong.append(await self.left_over())
                return
            await asyncio.sleep(0.05)

    async def settled(self, rejected: frozenset[tuple[int, str, str]]) -> None:
        """Nothing is left in our tables but what is refused for ever."""
        deadline = time.monotonic() + SETTLED_WITHIN
        keys = [key for _, _, key in rejected]
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            while True:
                cursor = await conn.execute(
                    "select (select count(*) from cdc.queue),"
                    " (select count(*) from cdc.retry where key <> all(%s)),"
                    " (select count(*) from cdc.dead where key <> all(%s)),"
                    " (select count(*) from cdc.unresolved)",
                    (keys, keys),
                )
                row = await cursor.fetchone()
                if row == (0, 0, 0, 0):
                    return
                if time.monotonic() > deadline:
                    self.wrong.append(f"left in queue, retry, dead, unresolved: {row}")
                    return
                await asyncio.sleep(0.05)

    async def left_over(self) -> str:
        """The state of our tables, for people."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            cursor = await conn.execute(
                "select 'queue', webhook_id, count(*), min(id), null::timestamptz from cdc.queue"
                " group by 2 union all select 'retry', webhook_id, count(*), min(id), min(due_at)"
                " from cdc.retry group by 2 order by 1, 2"
            )
            rows = [" ".join(map(str, row)) for row in await cursor.fetchall()]
            lanes = await (await conn.execute("select * from cdc.lane")).fetchall()
        return "\n".join(["left over:", *rows, "lanes:", *(" ".join(map(str, x)) for x in lanes)])

    def hold(
        self,
        hooks: list[Hook],
        secrets: dict[int, str],
        rejected: frozenset[tuple[int, str, str]],
        faults: list[Fault],
        spells: list[Spell],
        amiss: list[float],
        writers: Writers,
    ) -> Result:
        changes = list(ledger.read(self.folder / "ledger.jsonl"))
        requests = list(records.read(self.folder / "requests.bin", secrets, self.wall))
        spans = [(fault.at, fault.over) for fault in faults]
        spans += [(spell.at, spell.over) for spell in spells]
        spans += [(moment, moment) for moment in amiss]
        (self.folder / "faults.json").write_bytes(
            orjson.dumps(
                {"faults": [asdict(f) for f in faults], "spells": list(map(asdict, spells))}
            )
        )
        held = account(changes, requests, hooks, Disturbances(spans), rejected, BUDGET)
        held.deliveries.clear()  # half a million, and counted
        # What was on its way at the moment of the fault still arrives.
        refused = {number for number, *_ in rejected}
        calm = [hook for hook in hooks if hook.number not in refused]
        moments = [fault.at + UNDER_WAY for fault in faults]
        waits = silences(changes, requests, calm, moments)
        silent: list[float | None] = []
        returned = []
        for fault, found in zip(faults, waits, strict=True):
            seconds = [
                UNDER_WAY + wait.seconds for wait in found if not _in_spell(fault, wait, spells)
            ]
            silent.append(max(seconds, default=None))
            owned = [UNDER_WAY + w.seconds for w in found if w.webhook in fault.owned]
            if owned:
                returned.append((fault.kind, min(owned), max(owned)))
        return Result(
            self.plan,
            self.folder,
            held,
            faults,
            silent,
            returned,
            time.monotonic() - self.began,
            writers.transactions,
            writers.unknown,
            len(spells),
            self.wrong,
        )

    def keep(
        self,
        hooks: list[Hook],
        secrets: dict[int, str],
        rejected: frozenset[tuple[int, str, str]],
    ) -> None:
        """What the files alone do not show, for their reader."""
        (self.folder / "run.json").write_bytes(
            orjson.dumps(
                {
                    "seed": self.plan.seed,
                    "wall": self.wall,
                    "hooks": [
                        [h.number, h.company, sorted(h.events), h.became, h.deleted] for h in hooks
                    ],
                    "secrets": [[number, secret] for number, secret in secrets.items()],
                    "rejected": sorted(rejected),
                    "budget": BUDGET,
                }
            )
        )

    async def progress(self, owed: Owed, peer: Peer, faults: Faults) -> None:
        while True:
            await asyncio.sleep(2)
            taken = sum(peer.counts.deliveries)
            self.say(
                f"{time.monotonic() - self.began:4.0f} s, {taken:,} delivered,"
                f" {owed.deliveries - taken:,} outstanding, {peer.counts.in_flight} in flight,"
                f" {sum(f.is_kill for f in faults.done)} kills"
            )


def _in_spell(fault: Fault, wait: Silence, spells: list[Spell]) -> bool:
    """Whether the receiver was at fault for this wait, at least in part."""
    return any(
        wait.webhook in spell.webhooks
        and spell.at < fault.at + wait.seconds
        and spell.over > fault.at - 5
        for spell in spells
    )


async def _reject(
    hooks: list[Hook], keys: dict[tuple[str, str], list[str]], peer: Peer
) -> frozenset[tuple[int, str, str]]:
    """One row at each of two webhooks is refused for ever."""
    event = "candidate_changed"
    wanting = [hook for hook in hooks if event in hook.events and not hook.became][:2]
    for hook in wanting:
        key = keys[hook.company, event][0]
        await peer.reject(hook.number, f'/candidates/{key}/"}}}}')
    return frozenset((hook.number, event, keys[hook.company, event][0]) for hook in wanting)
