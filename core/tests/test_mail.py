"""Delivery of mail to a real SMTP server: over TLS or not at all, and again when the server was away."""

import ssl
from datetime import timedelta

import pytest
from django.utils import timezone

from config import embedded_servers
from core.jobs import mail
from core.models import Mail

pytestmark = pytest.mark.django_db
ADDRESS = "person@example.com"


@pytest.fixture
def use_server(settings, certificate, monkeypatch):
    """Send by SMTP to `localhost:port`, whose certificate is trusted unless the test says otherwise."""

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


def post_and_deliver(*, now=None):
    """Write one mail and try to deliver it; the row afterwards."""
    row = mail.enqueue_mail(
        ADDRESS, "verify_email", link="https://app.example.com/account/verify-email#token"
    )
    mail.deliver_due_mail(now=now or timezone.now())
    row.refresh_from_db()
    return row


@pytest.mark.parametrize(("tls", "smtps"), [("smtps", True), ("starttls", False)])
def test_deliver_sends_over_tls(use_server, mail_server, tls, smtps):
    server = mail_server(tls)
    use_server(server.port, smtps=smtps)

    row = post_and_deliver()

    (message,) = server.messages(ADDRESS)
    assert (row.state, row.error) == ("done", "")
    assert message["X-Over-TLS"] == "True"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "https://app.example.com/account/verify-email#token" in message.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    ("tls", "trusted", "error"),
    [("plain", True, "SMTPNotSupportedError"), ("starttls", False, ssl.SSLCertVerificationError.__name__)],
    ids=["no STARTTLS", "unknown certificate"],
)
def test_deliver_sends_nothing_where_tls_does_not_hold(use_server, mail_server, tls, trusted, error):
    server = mail_server(tls)
    use_server(server.port, trusted=trusted)

    row = post_and_deliver()

    assert (row.state, row.error) == ("waiting", error)
    assert server.messages() == []


def test_deliver_tries_again_when_the_server_was_away(use_server, mail_server):
    port = embedded_servers.free_port()
    use_server(port, smtps=True)
    row = post_and_deliver()
    assert (row.state, row.error) == ("waiting", "ConnectionRefusedError")

    server = mail_server("smtps", port=port)
    mail.deliver_due_mail(now=timezone.now() + timedelta(hours=1))

    row.refresh_from_db()
    assert row.state == "done"
    assert len(server.messages(ADDRESS)) == 1
    assert Mail.objects.count() == 1
