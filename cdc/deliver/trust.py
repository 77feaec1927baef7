"""Whom we trust and who we are, in TLS: for all webhooks, and for those with a profile.

A profile is a folder named like it, in the folder of profiles: ``ca.pem`` (trusted instead of what
all trust), ``cert.pem`` and ``key.pem`` (shown instead of what all show). What is not in it is as
for all. So private keys stay files of the operator, and never get into the database.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from cdc.causes import cause_of, detail
from cdc.deliver.handshake import Handshake, folder_of_authorities, lacks_authorities
from cdc.errors import ConfigError, UsageError
from cdc.settings import Settings

PROFILES_SETTING = "CDC_TLS_PROFILES"

FILES_READ_EVERY_S = 10.0
"""Seconds after which files are checked again: they are renewed while the daemon runs."""

CERTIFICATE_ENDS_SOON = timedelta(days=14)
"""How long before its end a certificate is reported."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_Stamp = tuple[tuple[int, int, int], ...]


class UnusableTls(ConfigError):
    """The files of a profile, or those for all, cannot be used."""


class Files(NamedTuple):
    """PEM files: certificates to trust, our certificate (with its chain), its private key.

    The key may stand in the certificate's file.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


NO_FILES = Files()


class Doubt(NamedTuple):
    """What speaks against a profile. bad: it cannot be used; otherwise, not for long."""

    message: str
    hint: str
    bad: bool


class _Made(NamedTuple):
    context: ssl.SSLContext
    stamp: _Stamp
    until: float


def check_name(profile: str) -> None:
    """Raise UsageError unless this can be a profile's name, which is also a folder's."""
    if not _NAME.fullmatch(profile):
        raise UsageError(
            f"invalid TLS profile {profile!r}: expected small letters, digits, - and _, such as "
            "acme-2",
        )


class Trust:
    """Makes TLS contexts, one per profile, and again when their files change.

    common:   for all webhooks; its CA is trusted in addition to the system's.
    profiles: the folder of profiles.

    Verification is always on. Nothing is read before a context is asked for.
    """

    def __init__(self, common: Files = NO_FILES, profiles: Path | None = None) -> None:
        self._common = common
        self._folder = profiles
        self._made: dict[str | None, _Made] = {}

    @classmethod
    def of(cls, settings: Settings) -> Trust:
        common = Files(settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file)
        return cls(common, settings.tls_profiles)

    def context(self, profile: str | None = None) -> ssl.SSLContext:
        """The context of a profile, None: the one for all.

        Where files that were fine cannot be used any more (they are just being renewed, say), the
        context made of them goes on. Raises UnusableTls, UsageError.
        """
        now = monotonic()
        made = self._made.get(profile)
        if made is not None and now < made.until:
            return made.context
        files = self._files(profile)
        try:
            stamp = _stamp(files)
            if made is not None and stamp == made.stamp:
                context = made.context
            else:
                context = self._load(files, asked_later=profile is not None)
        except UnusableTls:
            if made is None:
                raise
            context, stamp = made.context, made.stamp
        self._made[profile] = _Made(context, stamp, now + FILES_READ_EVERY_S)
        return context

    def doubts(self, profiles: Iterable[str | None], now: datetime) -> list[Doubt]:
        """What is wrong, or will be soon, with these profiles (None: with the files for all)."""
        found: list[Doubt] = []
        for profile in profiles:
            try:
                files = self._files(profile)
                if not any(files):
                    continue
                self.context(profile)
                # The last of the CAs, the first of our own and its chain.
                ends = [
                    (file, which(_ends(file)))
                    for file, which in ((files.ca, max), (files.cert, min))
                    if file is not None
                ]
            except (UnusableTls, UsageError) as error:
                found.append(Doubt(error.message, error.hint, bad=True))
                continue
            for file, end in ends:
                if end < now + CERTIFICATE_ENDS_SOON:
                    verb = "ended" if end < now else "ends"
                    message = f"the certificate in {file} {verb} on {end:%Y-%m-%d}"
                    found.append(Doubt(message, "Renew it; no restart is needed.", end < now))
        return list(dict.fromkeys(found))

    def keys(self, profiles: Iterable[str | None]) -> list[Path]:
        """The files that hold private keys of these profiles (None: those for all). Unusable ones
        are left out."""
        found: list[Path] = []
        for profile in profiles:
            with suppress(UnusableTls, UsageError):
                files = self._files(profile)
                found += filter(None, [files.key or files.cert])
        return list(dict.fromkeys(found))

    def authorities(self) -> Doubt | None:
        """Why https cannot be called at all: this host trusts no authority."""
        # The folder first: to read all of the system's authorities takes 20 ms.
        if folder_of_authorities() or not lacks_authorities(self.context()):
            return None
        cause = cause_of("tls", None, detail("tls no authorities", peer="any endpoint"))
        return Doubt(cause.text, cause.todo, bad=True)

    def names(self) -> list[str]:
        """The profiles there are. Raises UnusableTls."""
        if self._folder is None:
            return []
        try:
            return sorted(
                path.name
                for path in self._folder.iterdir()
                if _NAME.fullmatch(path.name) and path.is_dir()
            )
        except OSError as error:
            raise UnusableTls(
                f"the folder of TLS profiles {self._folder} cannot be read: {error.strerror}",
                f"{PROFILES_SETTING} must name a folder that contains one folder per profile.",
            ) from None

    def _files(self, profile: str | None) -> Files:
        if profile is None:
            return self._common
        check_name(profile)
        if self._folder is None:
            raise UnusableTls(
                f"unknown TLS profile '{profile}': {PROFILES_SETTING} is not set",
                f"Set {PROFILES_SETTING} to the folder that contains the folder {profile}.",
            )
        folder = self._folder / profile
        if not folder.is_dir():
            raise UnusableTls(
                f"unknown TLS profile '{profile}': no folder {folder}",
                "Create it, with ca.pem, or cert.pem and key.pem, or all three.",
            )
        own = Files(*(_there(folder / f"{kind}.pem") for kind in Files._fields))
        if own.ca is None and own.cert is None:
            raise UnusableTls(
                f"the TLS profile '{profile}' is empty: {folder}",
                "Put ca.pem, or cert.pem and key.pem, or all three into it.",
            )
        if own.cert is not None:
            return Files(own.ca or self._common.ca, own.cert, own.key)
        return Files(own.ca, self._common.cert, self._common.key)

    def _load(self, files: Files, *, asked_later: bool) -> ssl.SSLContext:
        for file in filter(None, files):
            _readable(file)
        try:
            if files.ca == self._common.ca:
                context = ssl.create_default_context()
                if files.ca is not None:
                    context.load_verify_locations(files.ca)
            else:
                # None else: not the system's either.
                context = ssl.create_default_context(cafile=files.ca)
        except (OSError, ssl.SSLError):
            raise UnusableTls(
                f"the CA file {files.ca} cannot be used",
                "It must hold certificates in PEM form.",
            ) from None
        # Python 3.13 sets others than 3.11. What the operator named may be an intermediate; the
        # formal rules of RFC 5280 (VERIFY_X509_STRICT) fail private CAs and stop no forgery.
        context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslobject_class = Handshake
        # A server could ask for one handshake after the other within a single attempt, each of
        # which takes the loop a millisecond.
        context.options |= ssl.OP_NO_RENEGOTIATION
        if files.cert is not None:
            _show(context, files.cert, files.key)
            # Some servers ask only when they have seen the path. Each question costs a signature
            # on the loop, without a bound; so not by whomever a company registers, only where the
            # operator has chosen a profile.
            context.post_handshake_auth = asked_later
        return context


def _show(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    asked = False

    def password() -> str:
        # Without this OpenSSL would ask at the terminal, and the daemon wait for it.
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(cert, key, password)
    except (OSError, ssl.SSLError, ValueError) as error:
        if asked:
            raise UnusableTls(
                f"the private key {key or cert} is encrypted; the daemon cannot decrypt it",
                "Store it without a password, readable by the daemon only.",
            ) from None
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise UnusableTls(
                f"the private key {key or cert} does not fit the certificate {cert}",
                "Use the key that the certificate was made with.",
            ) from None
        raise UnusableTls(
            f"the certificate {cert} with the private key {key or cert} cannot be used",
            "Both must be in PEM form, the certificate followed by its chain.",
        ) from None


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def _readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UnusableTls(
            f"the TLS file {path} cannot be read: {error.strerror}",
            "It must exist, and be readable by the account that runs this.",
        ) from None


def _stamp(files: Files) -> _Stamp:
    try:
        found = [path.stat() for path in files if path is not None]
    except OSError as error:
        raise UnusableTls(
            f"the TLS file {error.filename} cannot be read: {error.strerror}",
            "It must exist, and be readable by the account that runs this.",
        ) from None
    return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


def _ends(path: Path) -> list[datetime]:
    # Imported where it is needed: it takes long, and most commands need none of it.
    from cryptography import x509

    found = x509.load_pem_x509_certificates(path.read_bytes())
    return [one.not_valid_after_utc for one in found]
