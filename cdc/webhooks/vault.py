"""Secrets at rest: encrypted when a key is configured, opened only where they are used.

Sealed are signing secrets, the values of additional headers, and the user and password in an
endpoint. A sealed text is ``cdc-sealed:`` and a Fernet token (AES-128-CBC and HMAC-SHA256), so
sealed and plain ones can coexist while keys are introduced or removed. Its form
fits into a URL: ``https://cdc-sealed:gAAAA...@host/`` is still one, and leads to the same place.

Opening costs some 50 us for each text, so it is done when a webhook is loaded, never for a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cdc.errors import CdcError
from cdc.model import Webhook

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MARK = "cdc-sealed:"


class CannotOpen(CdcError):
    """A sealed text cannot be read with the keys that are configured."""


class Vault:
    """Seals and opens with the given keys.

    keys: newest first, as CDC_SECRET_KEYS lists them. The first one seals, all of them open.
          Without any, nothing is sealed.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)
        self._made: MultiFernet | None = None

    @property
    def locked(self) -> bool:
        """Whether what is sealed from now on is encrypted."""
        return bool(self._keys)

    def seal(self, text: str) -> str:
        """Encrypted, if there is a key."""
        if not self._keys:
            return text
        return MARK + self._fernet().encrypt(text.encode()).decode()

    def open(self, text: str) -> str:
        """The plain text; one that is not sealed is returned as it is. Raises CannotOpen."""
        if not text.startswith(MARK):
            return text
        from cryptography.fernet import InvalidToken

        if not self._keys:
            raise CannotOpen(
                "a secret is encrypted, and CDC_SECRET_KEYS is not set",
                "Set CDC_SECRET_KEYS to the keys used where the webhook was registered.",
            )
        try:
            return self._fernet().decrypt(text[len(MARK) :].encode()).decode()
        except InvalidToken:
            raise CannotOpen(
                "a secret is encrypted with a key that is not in CDC_SECRET_KEYS",
                "Add the key that it was encrypted with; the newest key comes first.",
            ) from None

    def seal_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self.seal(value) for name, value in headers.items()}

    def open_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self.open(value) for name, value in headers.items()}

    def seal_endpoint(self, endpoint: str) -> str:
        """The endpoint with its user and password encrypted, if it has them."""
        before, login, after = _split(endpoint)
        return before + self.seal(login) + after if login else endpoint

    def open_endpoint(self, endpoint: str) -> str:
        """Raises CannotOpen."""
        before, login, after = _split(endpoint)
        return before + self.open(login) + after if login else endpoint

    def opened(self, webhook: Webhook) -> Webhook:
        """The webhook with all that is sealed in it opened. Raises CannotOpen."""
        return replace(
            webhook,
            endpoint=self.open_endpoint(webhook.endpoint),
            secrets=tuple(map(self.open, webhook.secrets)),
            headers=self.open_headers(webhook.headers),
        )

    def holds(self, text: str) -> bool:
        """Whether it is as ``seal`` would leave it: with the newest key, or plain without any."""
        if not self._keys or not text.startswith(MARK):
            return not self._keys and not text.startswith(MARK)
        from cryptography.fernet import Fernet, InvalidToken

        try:
            Fernet(self._keys[0]).decrypt(text[len(MARK) :].encode())
        except InvalidToken:
            return False
        return True

    def holds_endpoint(self, endpoint: str) -> bool:
        login = _split(endpoint)[1]
        return not login or self.holds(login)

    def _fernet(self) -> MultiFernet:
        """Encrypts with the newest key, decrypts with any."""
        # Made when first needed: most commands open nothing, and are spared the import.
        if self._made is None:
            from cryptography.fernet import Fernet, MultiFernet

            self._made = MultiFernet([Fernet(key) for key in self._keys])
        return self._made


def new_key() -> str:
    """A fresh key for CDC_SECRET_KEYS."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def sealed(text: str) -> bool:
    """Whether it is encrypted; for an endpoint, whether its login is."""
    return text.startswith(MARK) or _split(text)[1].startswith(MARK)


def _split(endpoint: str) -> tuple[str, str, str]:
    """What comes before the login, the login as it is written, and the rest from the ``@`` on."""
    scheme, separator, rest = endpoint.partition("://")
    end = next((i for i, char in enumerate(rest) if char in "/?#"), len(rest))
    login, at, host = rest[:end].rpartition("@")
    return scheme + separator, login, at + host + rest[end:]
