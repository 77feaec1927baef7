"""A receiver that costs next to nothing, for measuring what calls it. A process of its own.

with FastReceiver() as receiver:
    post_to(receiver.url)

It reads as much HTTP as it needs to tell requests apart, answers all of them alike, verifies
nothing and remembers nothing but their number. For a receiver that checks what it gets see
cdc/receiver.py.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: fast\r\nDate: Mon, 16 Mar 2015 15:32:35 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
)


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        answers = start = 0
        while (head := data.find(b"\r\n\r\n", start)) >= 0:
            at = data.find(b"ontent-Length: ", start, head) + 15
            length = int(data[at : data.find(b"\r\n", at)]) if at > 14 else 0
            end = head + 4 + length
            if end > len(data):
                break
            answers += 1
            start = end
        self._rest = data[start:]
        if answers:
            self._transport.write(ANSWER * answers)


class FastReceiver:
    """Runs the receiver as a child process while the block lasts.

    url: where it listens, plain http.  tls_url: the same with TLS.  ca_file: what to trust for it.
    pid: its process, for whoever wants to know what it used.
    """

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.ca_file = _certificate(folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.receiver", folder], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        plain, tls = json.loads(self._process.stdout.readline())
        self.pid = self._process.pid
        self.url = f"http://127.0.0.1:{plain}/hook"
        self.tls_url = f"https://127.0.0.1:{tls}/hook"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._folder.cleanup()


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fast receiver")])
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


async def _serve(folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(_Protocol, "127.0.0.1", 0, backlog=4096)
    tls = await loop.create_server(_Protocol, "127.0.0.1", 0, backlog=4096, ssl=context)
    print(json.dumps([s.sockets[0].getsockname()[1] for s in (plain, tls)]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
