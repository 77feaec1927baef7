"""Templates and static files. Every value is escaped; no template says otherwise."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cdc.causes import cause_of
from cdc.diagnosis.health import LaneState
from cdc.diagnosis.status import standing
from cdc.web.console.theme import Theme
from cdc.web.console.times import clock, in_text, moment, reading_in
from cdc.wording import age, counted

HERE = Path(__file__).parent


def headers(ancestors: tuple[str, ...] = ()) -> dict[str, str]:
    """Of a page. ancestors: origins whose pages may show it in a frame."""
    framed_by = " ".join(ancestors) or "'none'"
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
        "script-src 'self'; connect-src 'self'; "
        f"form-action 'self'; frame-ancestors {framed_by}; base-uri 'none'",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


HEADERS = headers()
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class Static:
    """Files whose names hold a hash of their content, so a browser may keep them for ever."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        self.names: dict[str, str] = {}
        for file in sorted((HERE / "static").iterdir()):
            if file.suffix in _KINDS:
                self.add(file.stem, file.suffix, file.read_bytes())

    def add(self, stem: str, suffix: str, content: bytes) -> str:
        """Returns its name in addresses."""
        name = f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
        self.names[f"{stem}{suffix}"] = name
        self._files[name] = (_KINDS[suffix], content)
        return name

    def get(self, name: str) -> tuple[dict[str, str], bytes] | None:
        """Headers and content."""
        found = self._files.get(name)
        if found is None:
            return None
        kept = "public, max-age=31536000, immutable"
        return {"Content-Type": found[0], "Cache-Control": kept}, found[1]


def coded(text: str, *, short: bool = False) -> Markup:
    """What stands in backticks as code, times in the reader's zone; all of it escaped."""
    parts = _parts(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else in_text(part, short=short)
        for number, part in enumerate(parts)
    )


def _parts(text: str) -> list[str]:
    """Every other part stood in backticks."""
    parts = str(text).split("`")
    return parts if len(parts) % 2 else [str(text)]


class Links:
    """Of the operator's sentences: webhooks, and commands that have a page, lead there.

    changes: to those pages, too, on which something is changed.
    """

    def __init__(self, root: str) -> None:
        self._root = root

    def __call__(self, text: str, changes: bool) -> Markup:
        parts = _parts(text)
        return Markup("").join(
            self._command(part, changes) if number % 2 else self._webhooks(part)
            for number, part in enumerate(parts)
        )

    def _command(self, text: str, changes: bool) -> Markup:
        code = Markup("<code>{}</code>").format(text)
        for form, page in _PAGES if changes else ():
            if (found := form.fullmatch(text)) is not None:
                return self._link(found.expand(page), code)
        return code

    def _webhooks(self, text: str) -> Markup:
        parts = _WEBHOOK.split(text)
        return Markup("").join(
            self._link(f"/webhooks/{part.rpartition(' ')[2]}", part)
            if number % 2
            else in_text(part)
            for number, part in enumerate(parts)
        )

    def _link(self, page: str, words: str) -> Markup:
        return Markup('<a href="{}{}">{}</a>').format(self._root, page, words)


_WEBHOOK = re.compile(r"\b([Ww]ebhook [1-9][0-9]{0,17})\b")
_ID = "([1-9][0-9]{0,17})"
_PAGES = tuple(
    (re.compile(command), page)
    for command, page in (
        (f"cdc webhook resume {_ID}", r"/webhooks/\1/resume"),
        (f"cdc webhook rotate-secret {_ID}", r"/webhooks/\1/rotate"),
        (f"cdc webhook update {_ID}.*", r"/webhooks/\1/edit"),
        (f"cdc webhook show {_ID}", r"/webhooks/\1"),
        (f"cdc delivery list --webhook {_ID}( --state dead)?", r"/webhooks/\1"),
        (f"cdc delivery replay --webhook {_ID}", r"/webhooks/\1/replay"),
        ("cdc delivery replay ([0-9a-f-]{36})", r"/deliveries/\1/retry"),
        ("cdc doctor", "/doctor"),
    )
)
"""Commands, and the pages that do the same."""


def plain(value: Any) -> str:
    """JSON for people."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def at_least(number: int, lane: LaneState) -> str:
    """A count of deliveries, which has a bound."""
    found = counted(number, "delivery", "deliveries")
    return f"at least {found}" if lane.more else found


def why(lane: LaneState) -> str:
    """The last error of a webhook, in words."""
    if lane.error in (None, "status", "mapping") or lane.unusable is not None:
        return lane.last_error or ""
    return f"{cause_of(lane.error or '', lane.status).text} ({lane.error})"


class Renderer:
    """prefix: what a proxy puts before all paths. root: of the site's own, after that."""

    def __init__(self, prefix: str, root: str, theme: Theme) -> None:
        self.static = Static()
        static = f"{prefix}{root}/static/"
        icon = static + self.static.names["icon.svg"]
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            moment=moment,
            clock=clock,
            coded=coded,
            age=age,
            plain=plain,
            standing=standing,
            why=why,
        )
        self._templates.filters["linked"] = Links(f"{prefix}{root}")
        self._templates.globals.update(
            root=f"{prefix}{root}",
            link_root=f"{prefix}/p/",
            css=static + self.static.names["console.css"],
            accent=static + self.static.add("theme", ".css", theme.css) if theme.css else "",
            script=static + self.static.names["live.js"],
            icon=icon,
            logo=static + self.static.add("logo", *theme.logo) if theme.logo else icon,
            brand=theme.name,
            counted=counted,
            once=lambda: token_urlsafe(16),
            at_least=at_least,
        )

    def page(self, template: str, values: Mapping[str, Any], zone: ZoneInfo) -> bytes:
        """zone: of its reader."""
        with reading_in(zone):
            shown = self._templates.get_template(template).render({**values, "zone": zone.key})
        return shown.encode()
