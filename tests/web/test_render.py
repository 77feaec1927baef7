"""Values and sentences as pages have them."""

from __future__ import annotations

from cdc.web.console.render import Links


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
