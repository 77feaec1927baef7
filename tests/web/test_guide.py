"""docs/api.md: its first calls are made as they stand there, by a shell, against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cdc.web.delivery_models import DeliveryOut, DeliveryPage
from tests.docs.pages import page
from tests.web.kit import LOCAL, Served, problem


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="the guide uses curl and jq"
)
def test_the_first_calls(served: Served, tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", page("docs/api.md"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    script = "\n".join(line.removeprefix("$ ") for line in lines)
    # Where the guide's reader has another server.
    script = script.replace("http://127.0.0.1:8080", served.url.rstrip("/"))
    bin_dir = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=tmp_path,
        env={**os.environ, **LOCAL, "PATH": f"{bin_dir}:{os.environ['PATH']}",
             "CDC_DATABASE_URL": served.database},
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made, found, waiting = _documents(done.stdout)
    assert made["secret"].startswith("whsec_")
    assert [one["id"] for one in found["items"]] == [made["id"]] == [1]
    assert (waiting["items"], waiting["more"]) == ([], False)


def test_the_example_of_an_error(served: Served) -> None:
    shown = _example('"type"')
    wanted = {"events": ["nothing_changed"], "endpoint": "http://127.0.0.1:9/"}
    found = problem(served.client("operator")("POST", "/v1/companies/1/webhooks", wanted))
    assert {**found, "request_id": ""} == {**shown, "request_id": ""}


def test_the_example_of_the_list_has_its_fields() -> None:
    shown = _example('"items"')
    assert set(shown) == set(DeliveryPage.model_fields)
    assert set(shown["items"][0]) == set(DeliveryOut.model_fields)


def _example(begins_with: str) -> Any:
    (text,) = re.findall(rf"```json\n(\{{{begins_with}.*?)```", page("docs/api.md"), re.DOTALL)
    return json.loads(text)


def _documents(text: str) -> list[Any]:
    """Several JSON documents, one behind the other."""
    found: list[Any] = []
    decoder = json.JSONDecoder()
    while text.strip():
        value, end = decoder.raw_decode(text.strip())
        found.append(value)
        text = text.strip()[end:]
    return found
