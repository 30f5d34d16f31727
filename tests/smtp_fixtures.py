"""Fixtures that start an SMTP server (`tests.smtp_server`) on loopback and read the messages it received."""

import datetime
import email
import email.policy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config import embedded_servers
from core.processes import port_is_free
from tests.stack import ROOT, wait_until


@dataclass
class Mailbox:
    """The messages that an SMTP server on `port` wrote to `folder`."""

    port: int
    folder: Path

    def messages(self, address: str | None = None) -> list[email.message.EmailMessage]:
        """The received messages, oldest first. With `address`, only those addressed to it."""
        paths = sorted(self.folder.glob("*.eml"), key=lambda path: int(path.stem))
        messages = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths
        ]
        return [message for message in messages if address in (None, message["To"])]


def write_certificate(folder: Path) -> None:
    """Write `key.pem` and `certificate.pem`, self-signed for `localhost` and the hosts below it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("*.localhost")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private_key)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def start_smtp_server(mailbox: Mailbox, *, tls: str, certificate: Path) -> "subprocess.Popen[bytes]":
    """Start `tests.smtp_server` on the port of `mailbox`. `tls` is `smtps`, `starttls` or `plain`."""
    mailbox.folder.mkdir(exist_ok=True)
    arguments = [str(mailbox.port), tls, str(certificate), str(mailbox.folder)]
    process = subprocess.Popen([sys.executable, "-m", "tests.smtp_server", *arguments], cwd=ROOT)
    wait_until(lambda: not port_is_free("127.0.0.1", mailbox.port), seconds=20)
    return process


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for `localhost` and its key."""
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder)
    return folder


@pytest.fixture
def mail_server(certificate: Path, tmp_path: Path) -> Iterator[Callable[..., Mailbox]]:
    """Start SMTP servers on loopback: `mail_server("smtps")`, `"starttls"` or `"plain"`."""
    processes = []

    def start(tls: str, *, port: int | None = None) -> Mailbox:
        mailbox = Mailbox(port or embedded_servers.free_port(), tmp_path / f"mailbox-{len(processes)}")
        processes.append(start_smtp_server(mailbox, tls=tls, certificate=certificate))
        return mailbox

    yield start
    for process in processes:
        process.terminate()
        process.wait(10)
