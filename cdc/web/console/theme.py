"""How an installation looks: its name, logo and accent, from a small TOML file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from cdc.errors import ConfigError

MAX_LOGO_BYTES = 100_000
CONTRAST = 4.5
"""Of text and its background (WCAG 2, level AA)."""

LIGHT, DARK = "#e9ecf1", "#2a3240"
"""--plain-back of static/console.css: the background on which an accent is read worst."""

_LOGOS = (".svg", ".png")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class Theme(NamedTuple):
    """logo: ending and content. css: a stylesheet with the accent, after console.css."""

    name: str = "Webhooks"
    logo: tuple[str, bytes] | None = None
    css: bytes = b""


def load_theme(file: Path | None) -> Theme:
    """Raises ConfigError for a file that cannot be used."""
    if file is None:
        return Theme()
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
        return _theme(given, file.parent)
    except (OSError, ValueError) as error:  # of TOML, of UTF-8, of ours
        raise ConfigError(
            f"cannot use the theme {file}: {error}",
            "CDC_SERVE_THEME names a TOML file; docs/portal.md has an example.",
        ) from None


def _theme(given: dict[str, object], folder: Path) -> Theme:
    if unknown := given.keys() - {"name", "logo", "accent"}:
        raise ValueError(f"unknown key {min(unknown)}: expected name, logo, accent")
    for key, value in given.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key} must be a text")
    texts = {key: str(value) for key, value in given.items()}
    return Theme(
        texts.get("name", Theme().name),
        _logo(folder / texts["logo"]) if "logo" in texts else None,
        _stylesheet(texts["accent"]) if "accent" in texts else b"",
    )


def _logo(file: Path) -> tuple[str, bytes]:
    if file.suffix not in _LOGOS:
        raise ValueError(f"logo {file.name}: expected a file that ends with .svg or .png")
    content = file.read_bytes()
    if len(content) > MAX_LOGO_BYTES:
        raise ValueError(f"logo {file.name}: it exceeds {MAX_LOGO_BYTES} bytes")
    return file.suffix, content


def _stylesheet(accent: str) -> bytes:
    if not _COLOUR.fullmatch(accent):
        raise ValueError(f"accent {accent!r}: expected a colour such as #2450b8")
    light, dark = readable(accent, LIGHT, "#000000"), readable(accent, DARK, "#ffffff")
    return (
        f"@media screen {{ :root {{ --accent: {light}; }} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ --accent: {dark}; }} }}\n"
    ).encode()


def readable(accent: str, background: str, towards: str) -> str:
    """The accent, mixed with as little of another colour as makes it readable as text."""
    parts, end = _parts(accent), _parts(towards)
    for step in range(65):
        mixed = [round(a + (b - a) * step / 64) for a, b in zip(parts, end, strict=True)]
        found = "#" + "".join(f"{part:02x}" for part in mixed)
        if contrast(found, background) >= CONTRAST:
            return found
    raise AssertionError(f"{towards} cannot be read on {background}")


def contrast(one: str, other: str) -> float:
    """Of two colours, by WCAG 2."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = (part / 255 for part in _parts(colour))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parts(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
