"""Key pairs (v1a) against Node's own crypto, and which secrets are refused."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import pytest

from cdc.errors import UsageError
from cdc.message.signing import SignatureProblem, Signer, verify
from cdc.message.signing_keys import (
    Scheme,
    new_secret,
    parse_secret,
    public_key,
    scheme_of,
    verifying,
)

NODE = """
const crypto = require("node:crypto");
const { seed, content } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const der = (prefix, raw) => Buffer.concat([Buffer.from(prefix, "hex"), raw]);
const priv = crypto.createPrivateKey({
  key: der("302e020100300506032b657004220420", Buffer.from(seed, "base64")),
  format: "der", type: "pkcs8" });
const pub = crypto.createPublicKey(priv).export({ format: "der", type: "spki" }).subarray(-32);
console.log(JSON.stringify({
  public: pub.toString("base64"),
  signature: crypto.sign(null, Buffer.from(content), priv).toString("base64"),
}));
"""
NODE_VERIFIES = """
const crypto = require("node:crypto");
const { key, content, signature } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const pub = crypto.createPublicKey({
  key: Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(key, "base64")]),
  format: "der", type: "spki" });
console.log(crypto.verify(null, Buffer.from(content), pub, Buffer.from(signature, "base64")));
"""
NEEDS_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
BODY = '{"name": "Zoë"}'.encode()


def node(program: str, given: dict[str, str]) -> str:
    done = subprocess.run(
        ["node", "-e", program], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def raw(text: str) -> str:
    return text.partition("_")[2]


@NEEDS_NODE
def test_node_makes_the_same_of_a_key() -> None:
    """ed25519 signatures are determined by key and content: both come to the same bytes."""
    secret = new_secret(Scheme.V1A)
    headers = dict(Signer([secret]).headers("id", 1700000000, BODY))
    content = "id.1700000000." + BODY.decode()
    made = json.loads(node(NODE, {"seed": raw(secret), "content": content}))
    assert public_key(secret) == "whpk_" + made["public"]
    assert headers["webhook-signature"] == "v1a," + made["signature"]


@NEEDS_NODE
def test_node_verifies_with_the_public_key_alone() -> None:
    secret = new_secret(Scheme.V1A)
    signature = dict(Signer([secret]).headers("id", 1, BODY))["webhook-signature"]
    given = {
        "key": raw(public_key(secret)),
        "content": "id.1." + BODY.decode(),
        "signature": signature.removeprefix("v1a,"),
    }
    assert node(NODE_VERIFIES, given) == "true"
    assert node(NODE_VERIFIES, {**given, "content": "id.2." + BODY.decode()}) == "false"
    other = public_key(new_secret(Scheme.V1A))
    assert node(NODE_VERIFIES, {**given, "key": raw(other)}) == "false"


def test_both_schemes_beside_each_other() -> None:
    """As while a webhook changes from one to the other."""
    shared, private = new_secret(), new_secret(Scheme.V1A)
    headers = dict(Signer([private, shared]).headers("id", 100, BODY))
    first, second = headers["webhook-signature"].split(" ")
    assert (first[:4], second[:3]) == ("v1a,", "v1,")
    for secret in (shared, private, public_key(private)):
        assert verify([secret], headers, BODY, 100) is None
        assert verify([secret], headers, BODY + b" ", 100) is SignatureProblem.MISMATCH
    alone = dict(Signer([shared]).headers("id", 100, BODY))
    assert verify([public_key(private)], alone, BODY, 100) is SignatureProblem.NO_V1A
    only = dict(Signer([private]).headers("id", 100, BODY))
    assert verify([shared], only, BODY, 100) is SignatureProblem.NO_V1
    other = public_key(new_secret(Scheme.V1A))
    assert verify([other], only, BODY, 100) is SignatureProblem.MISMATCH


@pytest.mark.parametrize("signature", ["", "=", "AAAA", "\u00e9", "\udcff", "A" * 10_000])
def test_a_signature_that_is_none_is_no_error(signature: str) -> None:
    genuine = verifying(public_key(new_secret(Scheme.V1A)))
    assert genuine(b"content", signature) is False


def test_a_private_key_of_both_forms() -> None:
    secret = new_secret(Scheme.V1A)
    seed = parse_secret(secret)
    public = base64.b64decode(raw(public_key(secret)))
    long = "whsk_" + base64.b64encode(seed + public).decode()
    assert parse_secret(long) == seed
    assert public_key(long) == public_key(secret)
    assert scheme_of(long) is scheme_of(public_key(long)) is Scheme.V1A


def written(prefix: str, key: bytes) -> str:
    return prefix + base64.b64encode(key).decode()


VARIED = bytes(range(200))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (written("whsec_", VARIED[:23]), "23 bytes"),
        (written("whsec_", VARIED[:65]), "65 bytes"),
        (written("whsec_", b"\0" * 32), "weak"),
        (written("whsec_", b"secret" * 6), "weak"),
        (written("whsk_", VARIED[:31]), "31 bytes"),
        (written("whsk_", VARIED[:33]), "33 bytes"),
        (written("whsk_", b"k" * 32), "weak"),
        (written("whsk_", VARIED[:64]), "two halves"),
        (written("whpk_", VARIED[:32]), "cannot sign"),
        ("whsk_not base64!", "base64"),
        ("whsec_" + "é" * 40, "base64"),
        ("whsec_" + "-_8a" * 8, "Write + for - and / for _"),
        ("plain", "does not begin with whsec_"),
    ],
)
def test_refused_without_repeating_it(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_secret(text)
    message = caught.value.message + caught.value.hint
    assert says in message
    assert raw(text) not in message or not raw(text)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["whpk_", "whpk_AAAA", written("whpk_", VARIED[:33]), "whpk_é"])
def test_public_keys_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        verifying(text)


def test_a_public_key_of_a_shared_secret_there_is_not() -> None:
    with pytest.raises(UsageError):
        public_key(new_secret())
