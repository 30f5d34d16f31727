"""Delivery of mail to a real SMTP server: only over TLS, and with retries while the server is unavailable."""

import socket
import ssl
import threading
import time
from datetime import timedelta

import pytest
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from config import embedded_servers
from core.jobs import mail
from core.jobs.mail import FolderBackend
from core.models import Mail
from tests.smtp_server import REFUSED

pytestmark = pytest.mark.django_db
ADDRESS = "person@example.com"


@pytest.fixture
def use_server(settings, certificate, monkeypatch):
    """Return a function that makes the tests send to `localhost:port` by SMTP.

    The certificate of the server is trusted unless the test says otherwise.
    """

    def configure(port, *, smtps=False, trusted=True):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST = "localhost"
        settings.EMAIL_PORT = port
        settings.EMAIL_USE_SSL = smtps
        settings.EMAIL_USE_TLS = not smtps
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    return configure


@pytest.fixture
def silent_server():
    """The address of a server that greets, takes EHLO and MAIL, and then sends nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            connection.sendall(b"220 ready\r\n")
            connection.recv(1000)
            connection.sendall(b"250 hello\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in connections:
        connection.close()


def enqueue_and_deliver(*, now=None):
    """Enqueue one mail and try to deliver it; return its row."""
    row = mail.enqueue_mail(
        ADDRESS, "verify_email", link="https://app.example.com/account/verify-email#token"
    )
    mail.deliver_due_mail(now=now or timezone.now())
    row.refresh_from_db()
    return row


@pytest.mark.parametrize(("tls", "smtps"), [("smtps", True), ("starttls", False)])
def test_deliver_due_mail_sends_over_tls(use_server, mail_server, tls, smtps):
    server = mail_server(tls)
    use_server(server.port, smtps=smtps)

    row = enqueue_and_deliver()

    (message,) = server.messages(ADDRESS)
    assert (row.status, row.error) == ("done", "")
    assert message["X-Over-TLS"] == "True"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "https://app.example.com/account/verify-email#token" in message.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    ("tls", "trusted", "error"),
    [("plain", True, "SMTPNotSupportedError"), ("starttls", False, ssl.SSLCertVerificationError.__name__)],
    ids=["no STARTTLS", "unknown certificate"],
)
def test_deliver_due_mail_sends_nothing_without_trusted_tls(use_server, mail_server, tls, trusted, error):
    server = mail_server(tls)
    use_server(server.port, trusted=trusted)

    row = enqueue_and_deliver()

    assert (row.status, row.error) == ("waiting", error)
    assert server.messages() == []


def test_deliver_due_mail_retries_after_the_server_was_unavailable(use_server, mail_server):
    port = embedded_servers.free_port()
    use_server(port, smtps=True)
    row = enqueue_and_deliver()
    assert (row.status, row.error) == ("waiting", "ConnectionRefusedError")

    server = mail_server("smtps", port=port)
    mail.deliver_due_mail(now=timezone.now() + timedelta(hours=1))

    row.refresh_from_db()
    assert row.status == "done"
    assert len(server.messages(ADDRESS)) == 1
    assert Mail.objects.count() == 1


def test_deliver_due_mail_uses_no_attempt_while_the_server_accepts_no_connection(use_server):
    use_server(embedded_servers.free_port(), smtps=True)
    rows = [mail.enqueue_mail(ADDRESS, "verify_email", link="x") for _ in range(3)]

    for _ in range(20):
        assert mail.deliver_due_mail(now=timezone.now()) == 0

    assert {(row.status, row.attempts, row.error) for row in Mail.objects.all()} == {
        ("waiting", 0, "ConnectionRefusedError")
    }
    assert len(rows) == 3


def test_deliver_due_mail_waits_once_for_a_server_that_falls_silent(settings, silent_server):
    """The server accepts connections and greets, and then never answers again."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = silent_server
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_TIMEOUT = 0.3
    for _ in range(20):
        mail.enqueue_mail(ADDRESS, "verify_email", link="x")
    started = time.monotonic()

    assert mail.deliver_due_mail(now=timezone.now()) == 0

    assert time.monotonic() - started < 3  # one mail waits, not each of the twenty
    assert sum(row.attempts for row in Mail.objects.all()) == 1


def test_deliver_due_mail_sends_every_due_mail_and_counts_a_refused_one_alone(use_server, mail_server):
    server = mail_server("smtps")
    use_server(server.port, smtps=True)
    for number in range(30):
        mail.enqueue_mail(f"p{number}@example.com", "verify_email", link="x")
    refused = mail.enqueue_mail(REFUSED, "verify_email", link="x")

    assert mail.deliver_due_mail(now=timezone.now()) == 30

    refused.refresh_from_db()
    assert (refused.status, refused.attempts) == ("waiting", 1)
    assert len(server.messages()) == 30


def test_folder_backend_writes_files_that_only_their_owner_may_read(settings, tmp_path):
    settings.MAIL_FOLDER = str(tmp_path / "mail")
    message = EmailMultiAlternatives("Subject", "Text", "from@example.com", ["to@example.com"])
    message.attach_alternative("<p>Text</p>", "text/html")

    assert FolderBackend().send_messages([message]) == 1

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "mail").iterdir()}
    assert ((tmp_path / "mail").stat().st_mode & 0o777, modes) == (0o700, {0o600})
