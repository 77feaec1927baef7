"""The comparison of clients runs, and its receiver answers all of them."""

from __future__ import annotations

import json

import pytest

from tests.bench import clients


def test_all_clients_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clients, "CONCURRENCY", (1, 2))
    monkeypatch.setattr("sys.argv", ["clients", "--requests", "4", "--rounds", "1", "--json"])
    assert clients.main() == 0
    report = json.loads(capsys.readouterr().out)
    assert [sorted(report[kind]) for kind in ("plain", "tls")] == [sorted(clients.CLIENTS)] * 2
    assert all(one["cpu_us"] > 0 for kind in report.values() for one in kind.values())
