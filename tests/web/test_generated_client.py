"""A client that a public generator makes of our document registers, pages, retries: `make long`.

The generator and what its clients need are installed into an environment of their own: they need
another release of typer than our command line.
"""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

from tests.house.files import TOP
from tests.web.kit import Served
from tests.web.test_deliveries import DEAD

GENERATOR = "openapi-python-client==0.29.1"
PROGRAM = """
import sys
from made import AuthenticatedClient
from made.api.default import (
    deliveries_listed, deliveries_retry, show_task, test_webhook, verify_webhook, webhooks_add,
    webhooks_change, webhooks_listed, webhooks_listed_all,
)
from made.models import Empty, ProblemOut, TrialIn, WebhookIn, WebhookPatch

url, key, command, *rest = sys.argv[1:]
client = AuthenticatedClient(base_url=url.rstrip("/"), token=key)
if command == "register":
    numbers = []
    for n in range(5):
        url_of = f"http://127.0.0.1:9/{n}"
        body = WebhookIn(events=["candidate_changed"], endpoint=url_of, ref=f"r{n}")
        made = webhooks_add.sync("61", client=client, body=body, idempotency_key=f"k{n}")
        # As after an answer that was lost: the same, with the secret that is shown once.
        again = webhooks_add.sync("61", client=client, body=body, idempotency_key=f"k{n}")
        assert again.id == made.id and again.secret == made.secret != None
        numbers.append(made.id)
    seen, after = [], None
    while True:
        place = {"after": after} if after else {}
        page = webhooks_listed.sync("61", client=client, limit=2, **place)
        seen += [one.id for one in page.items]
        if (after := page.next_) is None:
            break
    assert seen == numbers, (seen, numbers)
    assert [one.id for one in webhooks_listed_all.sync(client=client).items] == numbers
    [third] = webhooks_listed_all.sync(client=client, company="61", ref="r2").items
    assert third.id == numbers[2]
    patch = WebhookPatch(description="by it")
    changed = webhooks_change.sync(numbers[0], client=client, body=patch)
    assert changed.description == "by it", changed
    wrong = WebhookIn(events=["nothing_changed"], endpoint="http://127.0.0.1:9/x")
    refused = webhooks_add.sync("61", client=client, body=wrong)
    assert isinstance(refused, ProblemOut) and refused.code == "invalid", refused
    assert [one.field for one in refused.errors] == ["events"]
    foreign = webhooks_listed.sync("62", client=client)
    assert isinstance(foreign, ProblemOut) and foreign.status == 404
    unproven = test_webhook.sync(numbers[0], client=client, body=TrialIn())
    assert unproven.code == "unverified", unproven
    task = verify_webhook.sync(numbers[0], client=client, body=Empty())
    assert show_task.sync(task.id, client=client).state == "waiting"
    print(numbers[0])
else:
    found, after = [], None
    while True:
        page = deliveries_listed.sync(
            int(rest[0]), client=client, limit=2, **({"after": after} if after else {})
        )
        found += page.items
        after = page.next_
        if not page.more:
            break
    assert [one.key for one in found] == ["1", "2", "3", "4", "5"], found
    assert {one.state for one in found} == {"dead"}
    assert found[0].data["candidate"].endswith("/candidates/1/")
    for one in found:
        assert deliveries_retry.sync(one.uid, client=client, body=Empty()).retried == 1
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_generated_client_registers_pages_and_retries(served: Served, tmp_path: Path) -> None:
    home = tmp_path / "generator"
    venv.create(home, with_pip=True)
    _run(tmp_path, home / "bin/python", "-m", "pip", "install", "-q", GENERATOR)
    document = TOP / "docs" / "openapi.json"
    output = _run(
        tmp_path,
        *(home / "bin/openapi-python-client", "generate", "--meta", "none", "--path", document),
        *("--output-path", tmp_path / "made"),
    )
    # It would say which operations and schemas it has left out. (ruff only formats its code.)
    left = [line for line in output.splitlines() if "WARNING" in line or "Unable" in line]
    assert left == []
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    asked = (home / "bin/python", program, served.url, served.key("company:61"))
    number = _run(tmp_path, *asked, "register").strip()
    served.run(DEAD, int(number), 7_000_000, 5)
    _run(tmp_path, *asked, "retry", number)
    states = served.rows("select count(*) from cdc.retry where webhook_id = %s", int(number))
    assert states == [(5,)]


def _run(folder: Path, *command: str | Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout
