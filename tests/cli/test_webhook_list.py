"""`cdc webhook list` where there are many."""

from __future__ import annotations

import psycopg

from tests.cli.command import Command


def test_a_long_list_is_cut_and_says_so(cdc: Command, db: psycopg.Connection) -> None:
    db.execute(
        "insert into cdc.webhook (company, endpoint)"
        " select '1', 'http://127.0.0.1:9/' || n from generate_series(1, 250) n"
    )
    done = cdc.good("webhook", "list")
    assert done.out.count("http://") == 200
    assert "more than 200 webhooks" in done.err
    assert cdc.good("webhook", "list", "--limit", 3).out.count("http://") == 3
    done = cdc.good("webhook", "list", "--limit", 250)
    assert (done.out.count("http://"), done.err) == (250, "")
    assert len(cdc.json("webhook", "list")) == 250
