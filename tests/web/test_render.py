"""Values and sentences as pages have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cdc.web.console import times
from cdc.web.console.render import Links, coded
from cdc.wording import when

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER = datetime(2026, 7, 1, 22, 30, 5, tzinfo=UTC)


def test_sentences_lead_to_pages() -> None:
    linked = Links("/x/console")
    text = "Webhook 12 <b> is late: `cdc webhook resume 12` tries now, `cdc <run>` not"
    assert linked(text, True) == (
        '<a href="/x/console/webhooks/12">Webhook 12</a> &lt;b&gt; is late: '
        '<a href="/x/console/webhooks/12/resume"><code>cdc webhook resume 12</code></a> tries now, '
        "<code>cdc &lt;run&gt;</code> not"
    )
    assert "resume 12</code></a>" not in linked(text, False)
    assert linked("an odd ` of webhook 0", True) == "an odd ` of webhook 0"


def test_times_are_in_the_readers_zone_with_its_name() -> None:
    with times.reading_in(BERLIN):
        assert times.moment(SUMMER) == (
            '<time datetime="2026-07-01T22:30:05+00:00">2026-07-02 00:30:05 CEST</time>'
        )
        assert ">2026-01-01 01:00:00 CET<" in times.moment(datetime(2026, 1, 1, tzinfo=UTC))
        assert ">00:30<" in times.clock(SUMMER)
        assert times.moment(None) == ""
        text = f"<b> since {when(SUMMER)}, `since {when(SUMMER)}`"
        shown = '<time datetime="2026-07-01T22:30:05+00:00">2026-07-02 00:30:05 CEST</time>'
        assert coded(text) == f"&lt;b&gt; since {shown}, <code>since 2026-07-01 22:30:05Z</code>"
        assert Links("/x")(f"Webhook 1, {when(SUMMER)}", False).endswith(shown)
    with times.reading_in(ZoneInfo("UTC")):
        assert ">2026-07-01 22:30:05 UTC<" in times.moment(SUMMER)


def test_a_short_time_has_no_day_if_it_is_today() -> None:
    with times.reading_in(BERLIN):
        now = datetime.now(UTC)
        shown = coded(when(now), short=True)
        local = now.astimezone(BERLIN)
        if datetime.now(BERLIN).date() == local.date():
            assert shown.endswith(f">{local:%H:%M}</time>")
        before = now - timedelta(days=2)
        assert f">{before.astimezone(BERLIN):%Y-%m-%d %H:%M}<" in coded(when(before), short=True)


@pytest.mark.parametrize(
    "text", ["9999-99-99 99:99:99Z", "0001-01-01 00:00:00Z", "2026-02-30 00:00:00Z"]
)
def test_what_looks_like_a_time_is_left_as_it_is(text: str) -> None:
    with times.reading_in(ZoneInfo("America/New_York")):
        assert coded(text) == text


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("", "Europe/Berlin"),
        ("Mars/Base", "Europe/Berlin"),
        ("America", "Europe/Berlin"),
        ("../../etc/passwd", "Europe/Berlin"),
        ("/etc/passwd", "Europe/Berlin"),
        ("x" * 200, "Europe/Berlin"),
        ("<script>", "Europe/Berlin"),
    ],
)
def test_a_zone_that_this_host_does_not_know_is_left_out(given: str, found: str) -> None:
    assert times.zone_of(given, "Europe/Berlin").key == found
