"""The verifiers of docs/receiver.md and examples/, and its tables, against what the daemon does."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdc.capture.function_bodies import SMALL_STATEMENT_ROWS
from cdc.deliver.outcome import answer_for
from cdc.lanes.breaker import Breaker
from cdc.lanes.order import Held
from cdc.lanes.rate_limit import SlowDown
from cdc.lanes.retry_policy import RetryPolicy
from cdc.lanes.rules import LaneRules
from cdc.message.challenge import Challenge
from cdc.message.signing import Signer
from cdc.message.signing_keys import Scheme, new_secret, public_key
from cdc.model import Answer, Delivery, Layout, Outcome, Webhook, WebhookState
from cdc.settings import Settings
from tests.docs.pages import blocks, page, table
from tests.house.files import TOP

GUIDE = page("docs/receiver.md")
SECRET, OTHER, PRIVATE = new_secret(), new_secret(), new_secret(Scheme.V1A)
UID = "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"
BODY = '{"event": "project_changed", "name": "Müller"}'.encode()


def cases(secret: str, other: str) -> dict[str, tuple[dict[str, str], bytes, bool]]:
    """Requests by name: headers, body, genuine or not."""
    now = int(time.time())

    def signed(*secrets: str, at: int = now) -> dict[str, str]:
        return dict(Signer(secrets).headers(UID, at, BODY))

    good = signed(secret)
    signature = good["webhook-signature"]
    version, _, encoded = signature.partition(",")
    return {
        "genuine": (good, BODY, True),
        "rotating, the new secret": (signed(secret, other), BODY, True),
        "rotating, the old secret": (signed(other, secret), BODY, True),
        "rotating, from another scheme": (signed(new_secret(), PRIVATE, secret), BODY, True),
        "a minute old": (signed(secret, at=now - 60), BODY, True),
        "an hour old": (signed(secret, at=now - 3600), BODY, False),
        "of the future": (signed(secret, at=now + 3600), BODY, False),
        "another secret": (signed(other), BODY, False),
        "another body": (good, BODY + b" ", False),
        "another id": ({**good, "webhook-id": "other"}, BODY, False),
        "another time": ({**good, "webhook-timestamp": str(now - 1)}, BODY, False),
        "no time": ({**good, "webhook-timestamp": ""}, BODY, False),
        "no number": ({**good, "webhook-timestamp": "1e9"}, BODY, False),
        "a number too long": ({**good, "webhook-timestamp": "9" * 40}, BODY, False),
        "another version": ({**good, "webhook-signature": f"v2,{encoded}"}, BODY, False),
        "no version": ({**good, "webhook-signature": encoded}, BODY, False),
        "cut short": ({**good, "webhook-signature": signature[:-4]}, BODY, False),
        "only a version": ({**good, "webhook-signature": f"{version},"}, BODY, False),
        "no base64": ({**good, "webhook-signature": f"{version},*%*"}, BODY, False),
        "empty": ({**good, "webhook-signature": ""}, BODY, False),
        "no headers": ({}, BODY, False),
    }


# What the receiver has, what signs for it, and another one that does the same way.
KEYS = {
    "v1": (SECRET, SECRET, OTHER),
    "v1a": (public_key(PRIVATE), PRIVATE, new_secret(Scheme.V1A)),
}


# A key that a receiver forgot to set: what it stands for any sender can sign with.
UNSET = ("", "whsec_")


def forged() -> tuple[dict[str, str], bytes, bool]:
    stamp = str(int(time.time()))
    made = hmac.digest(b"", f"{UID}.{stamp}.".encode() + BODY, "sha256")
    headers = {
        "webhook-id": UID,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }
    return headers, BODY, False


@pytest.fixture(params=[*KEYS, *UNSET])
def given(request: pytest.FixtureRequest) -> tuple[str, list[list[str]], list[bool]]:
    """The receiver's key; per case id, timestamp, signatures and the body, all in base64 behind an
    x; what is to come out."""
    if request.param in UNSET:
        key, made = request.param, {"signed with nothing": forged()}
    else:
        key, secret, other = KEYS[request.param]
        made = cases(secret, other)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    lines = [
        ["x" + base64.b64encode(part).decode()
         for part in (*(headers.get(name, "").encode() for name in names), body)]
        for headers, body, _ in made.values()
    ]  # fmt: skip
    return key, lines, [genuine for _, _, genuine in made.values()]


def test_the_answer_to_a_challenge() -> None:
    scope: dict[str, Any] = {}
    for kind in ("python verify", "python challenge"):
        (block,) = blocks(GUIDE, kind)
        exec(compile(block.text, "docs/receiver.md", "exec"), scope)
    asked = Challenge.new(Webhook(1, "1", "https://x.example/", WebhookState.PAUSED, 1, (SECRET,)))
    body = asked.body("https://x.example/")
    headers = dict(Signer([SECRET]).headers(UID, int(time.time()), body))
    status, text = scope["answer"](SECRET, headers, body)
    assert (status, asked.echoed(text)) == (200, True)
    assert scope["answer"](OTHER, headers, body) == (401, b"")
    headers = dict(Signer([SECRET]).headers(UID, int(time.time()), BODY))
    assert scope["answer"](SECRET, headers, BODY) == (200, b"")
    # The literal one of the protocol's page has the same form.
    (shown,) = blocks(page("docs/protocol.md"), "json challenge")
    documented, made = json.loads(shown.text), json.loads(body)
    assert (list(documented), list(documented["data"]), documented["event"]) == (
        list(made), list(made["data"]), made["event"],
    )  # fmt: skip


def test_the_python_verifier(given: tuple[str, list[list[str]], list[bool]]) -> None:
    key, lines, wanted = given
    (block,) = blocks(GUIDE, "python verify")
    scope: dict[str, Any] = {}
    exec(compile(block.text, "docs/receiver.md", "exec"), scope)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    judged = []
    for line in lines:
        *values, body = (base64.b64decode(part[1:]) for part in line)
        headers = {n: v.decode() for n, v in zip(names, values, strict=True)}
        judged.append(scope["verify"](key, headers, body))
    assert judged == wanted


# For each file of examples/: what runs it, under which name, and what follows its code to read a
# key and then a line a request (id, timestamp, signatures, body), and to verify each.
DRIVERS = {
    "verify.js": (["node"], "program.js", """
const [key, ...lines] = require("node:fs").readFileSync(0, "utf8").trimEnd().split("\\n");
for (const line of lines) {
  const [id, time, signature, body] = line.split(" ").map((x) => Buffer.from(x.slice(1), "base64"));
  const headers = { "webhook-id": String(id), "webhook-timestamp": String(time),
                    "webhook-signature": String(signature) };
  console.log(verify(key, headers, body));
}
"""),
    "verify.php": (["php"], "program.php", """
$key = trim(fgets(STDIN));
while (($line = fgets(STDIN)) !== false) {
    $parts = array_map(fn($x) => base64_decode(substr($x, 1)), explode(' ', trim($line)));
    $headers = ['webhook-id' => $parts[0], 'webhook-timestamp' => $parts[1],
                'webhook-signature' => $parts[2]];
    echo verify($key, $headers, $parts[3]) ? "true\\n" : "false\\n";
}
"""),
    "verify.rb": (["ruby"], "program.rb", """
key = STDIN.readline.chomp
STDIN.each_line do |line|
  id, time, signature, body = line.split(" ").map { |x| x[1..].unpack1("m") }
  headers = { "webhook-id" => id, "webhook-timestamp" => time, "webhook-signature" => signature }
  puts verify(key, headers, body)
end
"""),
    "verify.go": (["go", "run"], "program.go", """
func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	key := in.Text()
	for in.Scan() {
		var parts [4]string
		for i, x := range strings.Split(in.Text(), " ") {
			raw, _ := base64.StdEncoding.DecodeString(x[1:])
			parts[i] = string(raw)
		}
		header := http.Header{}
		header.Set("webhook-id", parts[0])
		header.Set("webhook-timestamp", parts[1])
		header.Set("webhook-signature", parts[2])
		fmt.Println(Verify(key, header, []byte(parts[3])))
	}
}
"""),
    "Verifier.java": (["java"], "Program.java", ""),
    "verify.sh": (["sh"], "program.sh", """
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
read -r key
plain() { printf %s "${1#x}" | openssl base64 -d -A; }
while read -r id time signature body; do
  plain "$body" > "$dir/body"
  if verify "$key" "$(plain "$id")" "$(plain "$time")" "$(plain "$signature")" "$dir/body"
  then echo true; else echo false; fi
done
"""),
}  # fmt: skip

# A file that is run has its main class first.
JAVA_MAIN = """
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

class Program {
    public static void main(String[] arguments) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        String key = in.readLine();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] parts = line.split(" ");
            byte[][] raw = new byte[4][];
            for (int i = 0; i < 4; i++) raw[i] = Base64.getDecoder().decode(parts[i].substring(1));
            Map<String, String> headers = Map.of("webhook-id", new String(raw[0]),
                    "webhook-timestamp", new String(raw[1]),
                    "webhook-signature", new String(raw[2]));
            System.out.println(Verifier.verify(key, headers, raw[3]));
        }
    }
}
"""


def program(example: str) -> str:
    code = (TOP / "examples" / example).read_text("utf-8")
    if example == "Verifier.java":
        code = code.replace("\nclass Verifier", JAVA_MAIN + "\nclass Verifier", 1)
    if example == "verify.go":
        code = code.replace("package webhook\n", "package main\n", 1)
        code = code.replace('\t"bytes"\n', '\t"bufio"\n\t"bytes"\n\t"fmt"\n\t"os"\n', 1)
    return code + DRIVERS[example][2]


@pytest.mark.parametrize("example", DRIVERS)
def test_the_verifier(
    example: str, given: tuple[str, list[list[str]], list[bool]], tmp_path: Path
) -> None:
    command, name, _ = DRIVERS[example]
    if shutil.which(command[0]) is None or shutil.which("openssl") is None:
        pytest.skip(f"needs {command[0]} (and openssl)")
    key, lines, wanted = given
    (tmp_path / name).write_text(program(example), encoding="utf-8")
    done = subprocess.run(
        [*command, name],
        input="\n".join([key, *(" ".join(line) for line in lines)]) + "\n",
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"},
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(one).lower() for one in wanted]


def test_every_example_is_tested_and_linked() -> None:
    examples = {path.name for path in (TOP / "examples").iterdir()}
    assert examples == set(DRIVERS)
    assert all(f"](../examples/{example})" in GUIDE for example in examples)


# -- answers --------------------------------------------------------------------------------------

ANSWERS = {
    "success": Answer.SUCCESS,
    "gone": Answer.GONE,
    "too busy": Answer.BUSY,
    "too slow": Answer.SLOW,
    "failure": Answer.FAILURE,
}


def answer_row(status: int) -> dict[str, str]:
    """The row of the table of answers that a status falls under."""
    rows = table(GUIDE, "your answer", "counts as")
    by_number = [row for row in rows if str(status) in re.split(r"\W+", row["your answer"])]
    by_class = [row for row in rows if f"{status // 100}xx" in re.split(r"\W+", row["your answer"])]
    return (by_number or by_class)[0]


def test_the_table_of_answers_is_what_is_done() -> None:
    statuses = [*range(200, 300), *range(300, 600)]
    documented = {status: ANSWERS[answer_row(status)["counts as"]] for status in statuses}
    assert documented == {status: answer_for(status) for status in statuses}


@pytest.mark.parametrize("status", [410, 429, 503, 502, 504, 500, 404, 301])
def test_tries_are_used_up_as_documented(status: int) -> None:
    rules = LaneRules()
    judge = RetryPolicy(rules, Random(1), Breaker(rules), SlowDown())
    layout = Layout(1, "project_changed", ("base", "company", "project"))
    delivery = Delivery(1, 1, 1, UID, layout, "created", Any, (None, "1", "1"))  # type: ignore[arg-type]  # the time is not looked at
    held = Held(delivery, delivery.resource, 0)
    verdict = judge.verdict(held, Outcome(answer_for(status), status, "status", "", 0.1), 100.0)
    assert answer_row(status)["uses up one of the tries"] == ("yes" if verdict.attempts else "no")


# -- numbers --------------------------------------------------------------------------------------


def spelled(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def test_the_documented_schedule_is_the_default() -> None:
    *early, last = [spelled(seconds) for seconds in Settings().retry_schedule]
    schedule = f"after {', '.join(early)} and {last}, each {Settings().retry_jitter * 100:g} %"
    assert schedule in " ".join(GUIDE.split())


def test_the_documented_numbers_are_the_defaults() -> None:
    documented = " ".join(GUIDE.split())
    defaults = Settings()
    assert f"within {defaults.attempt_timeout:g} seconds" in documented
    assert f"After {defaults.breaker_failures} failures in a row" in documented
    assert f"After {defaults.suspend_after_days:g} days without one success" in documented
    assert f"collected for {defaults.held_days:g} days" in documented
    assert f"At most {defaults.max_concurrency} requests" in documented
    assert defaults.retry_after_cap == 3600
    assert "at most an hour" in documented
    assert len(defaults.retry_schedule) == 9
    assert "nine times more" in documented
    assert f"a statement changed up to {SMALL_STATEMENT_ROWS} rows" in documented
    assert f"as long as their log knows them ({defaults.log_days:g} days)" in documented
