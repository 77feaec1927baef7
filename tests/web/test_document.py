"""The document says what the API does: schemathesis tries it against the real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.files import TOP
from tests.web.kit import Client, Served

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "negative_data_rejection",
    "unsupported_method", "allow_header_conformance", "use_after_free",
)  # fmt: skip


@pytest.mark.timeout(300)  # it sends thousands of requests
@pytest.mark.parametrize("examples", [1, pytest.param(25, marks=pytest.mark.long)])
def test_schemathesis_finds_nothing(served: Served, tmp_path: Path, examples: int) -> None:
    """The phase of coverage goes through each field's limits; examples of chance come after."""
    key = served.key("admin")
    # Known before the checks send keys that are not valid, from the same address.
    Client(served.url, key).good("GET", "/v1/events")
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program, "run", TOP / "docs" / "openapi.json", "--url", served.url.rstrip("/"),
            "-H", f"Authorization:Bearer {key}", "--checks", ",".join(CHECKS),
            "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", "1",
            "--workers", "2", "--generation-database", "none", "--warnings", "off", "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_document_is_served_to_all(served: Served) -> None:
    answer = Client(served.url)("GET", "/v1/openapi.json")
    assert answer.status == 200
    checked_in = json.loads((TOP / "docs" / "openapi.json").read_text("utf-8"))
    assert {**answer.json, "servers": None} == {**checked_in, "servers": None}
