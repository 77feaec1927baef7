"""Examples below each command's help. One list, so that a test can hold every line against the
command line."""

from __future__ import annotations

from typing import Any

EXAMPLES = {
    "migrate": ("cdc migrate", "cdc migrate --sql > migrate.sql"),
    "triggers plan": ("cdc triggers plan",),
    "triggers install": ("cdc triggers install",),
    "triggers status": ("cdc triggers status --json",),
    "triggers remove": ("cdc triggers remove --yes",),
    "triggers sql": ("cdc triggers sql > triggers.sql",),
    "triggers off": ("cdc triggers off",),
    "triggers on": ("cdc triggers on",),
    "config show": ("cdc config show", "cdc --config cdc.toml config show --json"),
    "config check": ("cdc --config cdc.toml config check",),
    "config default": ("cdc config default > cdc.toml",),
    "config new-key": ("cdc config new-key",),
    "mapping init": ("cdc mapping init --company tenants > mapping.toml",),
    "mapping default": ("cdc mapping default > mapping.toml",),
    "events": ("cdc events", "cdc events --json"),
    "adopt": ("cdc adopt --yes",),
    "webhook add": (
        "cdc webhook add --company 1 --event project_changed --url https://hooks.example.com/suite",
        "cdc webhook add --company 1 --event note_changed --url https://x.example.com/ --cap 4",
        "cdc webhook add --system --url https://ops.example.com/cdc",
    ),
    "webhook list": ("cdc webhook list --company 1", "cdc webhook list --json"),
    "webhook show": ("cdc webhook show 1",),
    "webhook update": ("cdc webhook update 1 --cap 4 --rate 20",),
    "webhook pause": ("cdc webhook pause 1 --reason 'they migrate'",),
    "webhook resume": ("cdc webhook resume 1",),
    "webhook remove": ("cdc webhook remove 1",),
    "webhook rotate-secret": ("cdc webhook rotate-secret 1 --grace 7d",),
    "webhook reencrypt-secrets": ("cdc webhook reencrypt-secrets",),
    "webhook test": ("cdc webhook test 1",),
    "webhook export": ("cdc webhook export --secrets --output webhooks.json",),
    "webhook import": ("cdc webhook import webhooks.json",),
    "backfill start": ("cdc backfill start --webhook 1 --event candidate_changed --as created",),
    "backfill list": ("cdc backfill list --webhook 1",),
    "backfill show": ("cdc backfill show 1 --json",),
    "backfill pause": ("cdc backfill pause 1",),
    "backfill resume": ("cdc backfill resume 1",),
    "backfill cancel": ("cdc backfill cancel 1 --yes",),
    "delivery list": (
        "cdc delivery list --webhook 1 --state dead",
        "cdc delivery list --event candidate_changed --row 17",
        "cdc delivery list --company 1 --since 2d --limit 1000 --json",
    ),
    "delivery show": ("cdc delivery show 4711",),
    "catalog": ("cdc catalog", "cdc catalog --format openapi > webhooks.json"),
    "delivery cancel": (
        "cdc delivery cancel 4711 --reason 'sent by hand'",
        "cdc delivery cancel 0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57 --yes",
    ),
    "delivery drop": (
        "cdc delivery drop 4711 --reason 'their ATS was replaced'",
        "cdc delivery drop --webhook 1 --dry-run",
    ),
    "delivery replay": ("cdc delivery replay 4711", "cdc delivery replay --webhook 1 --dry-run"),
    "key create": (
        "cdc key create --scope operator --description console",
        "cdc key create --scope company:7 --expires 90d --json",
    ),
    "key list": ("cdc key list",),
    "key revoke": ("cdc key revoke abcdefghijkl",),
    "portal-link": ("cdc portal-link --company 7 --may replay",),
    "contact add": ("cdc contact add --company 7 --email it@example.com",),
    "contact list": ("cdc contact list --company 7",),
    "contact confirm": ("cdc contact confirm f7Qp2mZ0aXk3vB9tL5wYcR1s",),
    "contact remove": ("cdc contact remove 3",),
    "audit": ("cdc audit --webhook 5", "cdc audit --company 7 --since 7d --json"),
    "run": ("cdc run", "cdc run --processes 2"),
    "serve": ("cdc serve", "cdc serve --bootstrap-key-file first.key"),
    "status": (
        "cdc status",
        "cdc status --watch",
        "cdc status --company 1",
        "cdc status --json | jq '.problems[]'",
    ),
    "notice list": ("cdc notice list", "cdc notice list --company 7 --json"),
    "explain": (
        "cdc explain rating 17",
        "cdc explain rating 17 --company 1 --since 14d",
        "cdc explain webhook 5",
        "cdc explain 4711",
        "cdc explain 0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57",
    ),
    "doctor": ("cdc doctor", "cdc doctor --json"),
    "demo": ("cdc demo", "cdc demo --keep"),
    "receive": ("cdc receive --port 8081 --secret whsec_...",),
}


def show(command: Any, path: str) -> None:
    """Adds them to a command, or to all commands of a group."""
    for name, below in getattr(command, "commands", {}).items():
        show(below, f"{path} {name}")
    if lines := EXAMPLES.get(path):
        # The help joins lines that no empty one separates.
        command.epilog = "\n\n".join(("Examples:", *lines))
