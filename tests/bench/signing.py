"""What signing a request costs, beside the bare cryptography in the same run: ``make signing``.

And what opening a sealed secret costs, which is done once when a webhook is loaded.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cdc.message.signing import Signer
from cdc.message.signing_keys import Scheme, new_secret, parse_secret
from cdc.webhooks.vault import Vault, new_key

UID = "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"
BODY = b"x" * 217  # as long as a project_changed
ROUNDS, REPEATS = 2000, 7


def cost(work: Callable[[], object]) -> float:
    """Microseconds a call, in the best of some rounds."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(ROUNDS):
            work()
        best = min(best, time.perf_counter() - began)
    return best / ROUNDS * 1e6


def main() -> None:
    shared, private = new_secret(), new_secret(Scheme.V1A)
    key, pair = parse_secret(shared), Ed25519PrivateKey.from_private_bytes(parse_secret(private))
    content = f"{UID}.1426519955.".encode() + BODY
    vault = Vault([new_key()])
    closed = vault.seal(shared)
    measured = {
        "bare HMAC-SHA256 (baseline)": lambda: hmac.digest(key, content, "sha256"),
        "v1": _headers(shared),
        "v1, rotating (two secrets)": _headers(shared, new_secret()),
        "bare ed25519 (baseline)": lambda: pair.sign(content),
        "v1a": _headers(private),
        "v1a and v1, rotating": _headers(private, shared),
        "opening a sealed secret": lambda: vault.open(closed),
    }
    for name, work in measured.items():
        print(f"{name:32} {cost(work):7.1f} us")


def _headers(*secrets: str) -> Callable[[], object]:
    signer = Signer(secrets)
    return lambda: signer.headers(UID, 1426519955, BODY)


if __name__ == "__main__":
    main()
