"""The receiver as the benchmark sees it: where it listens, and what came."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.bench.child import Child
from tests.bench.load.receiver import RECORD

LOOK_EVERY = 0.05


class Receipt(NamedTuple):
    """A request that was received.

    at:  its last byte, in nanoseconds of the monotonic clock.
    uid: its webhook-id; empty without one.
    """

    at: int
    hook: int
    key: int
    uid: bytes


class Target:
    """Runs the receiver while the block lasts.

    ca_file: what to trust for its TLS.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file = _certificate(folder)
        self._address = str(folder / "receiver")

    def __enter__(self) -> Self:
        self._child = Child(
            *("-m", "tests.bench.load.receiver"),
            log=self._folder / "receiver.log",
            plan={"socket": self._address, "folder": str(self._folder)},
        )
        self._plain, self._tls = json.loads(self._child.answer())
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self._address)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._child.stop()

    def url(self, hook: int, *, tls: bool = False) -> str:
        return f"{self.base(tls=tls)}{hook}"

    def base(self, *, tls: bool = False) -> str:
        return f"https://127.0.0.1:{self._tls}/" if tls else f"http://127.0.0.1:{self._plain}/"

    def cpu(self) -> float:
        """Seconds of CPU it used so far."""
        return self._child.cpu()

    def clear(self) -> None:
        """Forgets what came."""
        self._ask(b"clear")

    def delay(self, seconds: float) -> None:
        """Every answer takes so long from now on."""
        self._ask(f"delay {seconds}".encode())

    def count(self) -> int:
        """Requests since the last ``clear``."""
        return int(self._ask(b"count"))

    def receipts(self) -> list[Receipt]:
        """What came since the last ``clear``, in order of time."""
        return [Receipt._make(found) for found in RECORD.iter_unpack(self._ask(b"records"))]

    def wait_for(self, count: int, seconds: float, alive: Callable[[], None]) -> bool:
        """Waits for so many requests, at most so long. Returns whether they came.

        alive: raises when there is nothing to wait for any more.
        """
        deadline = time.monotonic() + seconds
        while self.count() < count:
            alive()
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY)
        return True

    def _ask(self, command: bytes) -> bytes:
        self._socket.sendall(command + b"\n")
        return self._read(int.from_bytes(self._read(8), "little"))

    def _read(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            part = self._socket.recv(min(1 << 20, size - len(got)))
            if not part:
                raise self._child.failed("hung up")
            got += part
        return bytes(got)


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench receiver")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = folder / "cert.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    return public
