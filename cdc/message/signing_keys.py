"""Signing secrets and what they sign with. Pure.

Forms of Standard Webhooks 1.0.0, each base64 after its prefix:

    whsec_  v1   shared secret, 24 to 64 random bytes (HMAC-SHA256)
    whsk_   v1a  private key, the 32 bytes of an ed25519 seed; or 64, the public key behind it
    whpk_   v1a  public key, 32 bytes: all that a receiver needs, and no secret

Errors never repeat what was given.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as random_source
from collections.abc import Callable
from enum import StrEnum

from cdc.errors import UsageError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of every secret, not one itself
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES = (24, 64)
KEY_BYTES = 32
# Random bytes hold fewer different ones only once in more than 10^30 secrets.
FEWEST_DIFFERENT = 8


class Scheme(StrEnum):
    """How a request is signed. ``v1``: with a shared secret; ``v1a``: with a key pair."""

    V1 = "v1"
    V1A = "v1a"


def new_secret(scheme: Scheme = Scheme.V1) -> str:
    """A fresh secret of 32 random bytes: ``whsec_...``, or the private key ``whsk_...``."""
    prefix = SECRET_PREFIX if scheme is Scheme.V1 else PRIVATE_PREFIX
    return prefix + _written(random_source.token_bytes(KEY_BYTES))


def scheme_of(secret: str) -> Scheme:
    """By the prefix alone."""
    return Scheme.V1A if secret.startswith((PRIVATE_PREFIX, PUBLIC_PREFIX)) else Scheme.V1


def parse_secret(text: str) -> bytes:
    """The key inside a secret to sign with.

    Raises UsageError for another form, a wrong length, and for bytes that are not random.
    """
    if text.startswith(PUBLIC_PREFIX):
        raise UsageError(
            f"{PUBLIC_PREFIX} is a public key, which cannot sign",
            f"Give the private one, {PRIVATE_PREFIX}, or none at all: one is made.",
        )
    if text.startswith(PRIVATE_PREFIX):
        return _seed(text)
    least, most = SECRET_BYTES
    hint = (
        f"A secret is {SECRET_PREFIX} and the base64 of {least} to {most} random bytes, "
        f"or {PRIVATE_PREFIX} and that of an ed25519 key."
    )
    if not text.startswith(SECRET_PREFIX):
        raise UsageError(f"the secret does not begin with {SECRET_PREFIX}", hint)
    key = _read(text, SECRET_PREFIX, hint)
    if not least <= len(key) <= most:
        raise UsageError(f"the secret has {len(key)} bytes, not {least} to {most}", hint)
    _refuse_weak(key)
    return key


def public_key(secret: str) -> str:
    """What the receiver of a ``v1a`` webhook verifies with: ``whpk_...``.

    Raises UsageError for another kind of secret.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(_seed(secret)).public_key()
    return PUBLIC_PREFIX + _written(public.public_bytes_raw())


def signing(secret: str) -> Callable[[bytes], str]:
    """A function from content to signature, as the header lists it (``v1,...``).

    Raises UsageError as parse_secret does.
    """
    key = parse_secret(secret)
    if scheme_of(secret) is Scheme.V1:
        keyed = hmac.new(key, digestmod="sha256")

        def sign_v1(content: bytes) -> str:
            made = keyed.copy()  # half the time of hmac.digest, which takes the key in again
            made.update(content)
            return "v1," + _written(made.digest())

        return sign_v1
    # Imported here: an installation without such a webhook is spared the time.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    sign = Ed25519PrivateKey.from_private_bytes(key).sign
    return lambda content: "v1a," + _written(sign(content))


def verifying(secret: str) -> Callable[[bytes, str], bool]:
    """A function from content and signature (without its version) to whether they belong together.

    secret: ``whsec_``, ``whpk_`` or ``whsk_``. Raises UsageError for anything else.
    Takes the same time whatever part of a signature is wrong.
    """
    if scheme_of(secret) is Scheme.V1:
        sign = signing(secret)

        def same(content: bytes, signature: str) -> bool:
            wanted = sign(content).partition(",")[2].encode()
            return hmac.compare_digest(wanted, signature.encode(errors="surrogateescape"))

        return same
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    text = secret if secret.startswith(PUBLIC_PREFIX) else public_key(secret)
    hint = f"A public key is {PUBLIC_PREFIX} and the base64 of {KEY_BYTES} bytes."
    key = _read(text, PUBLIC_PREFIX, hint)
    if len(key) != KEY_BYTES:
        raise UsageError(f"the public key has {len(key)} bytes, not {KEY_BYTES}", hint)
    public = Ed25519PublicKey.from_public_bytes(key)

    def genuine(content: bytes, signature: str) -> bool:
        try:
            public.verify(base64.b64decode(signature, validate=True), content)
        except (InvalidSignature, ValueError):
            return False
        return True

    return genuine


def _seed(text: str) -> bytes:
    hint = (
        f"A private key is {PRIVATE_PREFIX} and the base64 of the {KEY_BYTES} bytes of an ed25519 "
        "seed, or of these and the public key behind them."
    )
    if not text.startswith(PRIVATE_PREFIX):
        raise UsageError(f"the private key does not begin with {PRIVATE_PREFIX}", hint)
    key = _read(text, PRIVATE_PREFIX, hint)
    if len(key) not in (KEY_BYTES, 2 * KEY_BYTES):
        raise UsageError(
            f"the private key has {len(key)} bytes, not {KEY_BYTES} or {2 * KEY_BYTES}", hint
        )
    seed, rest = key[:KEY_BYTES], key[KEY_BYTES:]
    _refuse_weak(seed)
    if rest:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        if public != rest:
            raise UsageError("the private key's two halves do not belong together", hint)
    return seed


def _read(text: str, prefix: str, hint: str) -> bytes:
    encoded = text[len(prefix) :]
    try:
        # Some senders write the padding, some leave it out: both are read.
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        if set(encoded) & set("-_"):
            raise UsageError(
                "the secret is written in URL-safe base64, with - and _",
                "Write + for - and / for _; receivers read it like that too.",
            ) from None
        # Without "from": the original would carry the secret into a traceback.
        raise UsageError("the secret is not written in base64", hint) from None


def _refuse_weak(key: bytes) -> None:
    if len(set(key)) < FEWEST_DIFFERENT:
        raise UsageError(
            f"the secret is weak: it holds only {len(set(key))} different bytes",
            "Leave it out, and a random one is made.",
        )


def _written(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode()
