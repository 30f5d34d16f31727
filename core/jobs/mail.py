"""Mail: a row written in the caller's transaction, and sent by a worker.

A mail that the server did not take becomes due again 2, 4, 8 ... seconds later, at most an hour
(`core.jobs.queue`); after 16 attempts, about five hours, it is dead (`core.models.Mail`). While the server
accepts no connection, mails wait without using an attempt.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from smtplib import SMTPException, SMTPServerDisconnected
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models.functions import Now
from django.template.loader import render_to_string

from core.jobs import queue
from core.models import Mail

# How long a row records that a user was sent a mail. Its content is deleted when it is sent.
RETENTION = timedelta(days=7)
EMPTY_CONTEXT = "{}"

log = structlog.get_logger(__name__)


def enqueue_mail(
    to: str, template: str, *, person: UUID | None = None, until: datetime | None = None, **context: object
) -> Mail:
    """Write a mail in the caller's transaction; a worker sends it after the commit.

    `context` is the context of `templates/mail/<template>.txt` and `.html`; its values must be JSON values.
    The first line of the text template is the subject. A value `unsubscribe` is a URL that ends such mails.
    `person` is the user whom the mail is about, so that it is erased with them. The mail is not sent after
    `until`.
    """
    mail = Mail.objects.create(
        to=to,
        template=template,
        person=person,
        until=until,
        context=json.dumps(context),
        due_at=Now(),
    )
    queue.enqueue("core.tasks.deliver_mail")
    return mail


def deliver_due_mail(*, now: datetime) -> int:
    """Send the mails that are due over one connection; return the number of sent mails.

    While the mail server does not accept a connection, no mail uses an attempt. `now` is the time of the
    database.
    """
    due = Mail.objects.filter(status__in=Mail.OPEN, due_at__lte=now)
    Mail.objects.filter(status__in=Mail.OPEN, until__lt=now).update(
        status=Mail.Status.DEAD, error="too late", context=EMPTY_CONTEXT
    )
    if not due.exists():
        return 0
    server = MailServer()
    try:
        server.connection.open()
    except OSError as error:  # of which SMTPException is a kind
        due.filter(status=Mail.Status.WAITING).update(error=type(error).__name__)
        log.warning("mail_server_unavailable", error=type(error).__name__)
        server.close()
        return 0
    sent = queue.run_due(Mail, server.send, now=now, should_stop=lambda: server.is_lost)
    server.close()
    Mail.objects.filter(status=Mail.Status.DONE, sent_at=None).update(sent_at=now, context=EMPTY_CONTEXT)
    return sent


class MailServer:
    """A connection to the mail server.

    `is_lost` when it broke, so that a sweep ends instead of waiting for each mail.
    """

    def __init__(self) -> None:
        self.connection = get_connection(fail_silently=False)
        self.is_lost = False

    def close(self) -> None:
        """Close the connection. A server that does not answer makes no difference."""
        with suppress(OSError):
            self.connection.close()

    def send(self, mail: Mail) -> None:
        """Send one mail. Raises OSError."""
        try:
            _build_message(mail, self.connection).send()
        except OSError as error:
            # A refusal of this mail is another SMTPException: the connection works.
            self.is_lost = isinstance(error, SMTPServerDisconnected) or not isinstance(error, SMTPException)
            raise


def _build_message(mail: Mail, connection: Any) -> EmailMultiAlternatives:
    context = json.loads(mail.context)
    subject, text, html = render_mail(mail.template, context)
    message = EmailMultiAlternatives(subject, text, settings.MAIL_FROM, [mail.to], connection=connection)
    message.attach_alternative(html, "text/html")
    message.extra_headers = {
        # The same in every attempt, so that a repeated delivery is recognised (RFC 5322 section 3.6.4).
        "Message-ID": f"<{mail.pk}@{settings.APP_HOST}>",
        "Auto-Submitted": "auto-generated",
    }
    if "unsubscribe" in context:  # the unsubscribe button of a mail client (RFC 2369 and RFC 8058)
        message.extra_headers |= {
            "List-Unsubscribe": f"<{context['unsubscribe']}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    return message


def render_mail(template: str, context: dict[str, Any]) -> tuple[str, str, str]:
    """Return subject, plain text and HTML of a mail."""
    context = {**context, "app_host": settings.APP_HOST}
    subject, _, text = render_to_string(f"mail/{template}.txt", context).strip().partition("\n")
    html = render_to_string(f"mail/{template}.html", {**context, "subject": subject})
    return subject.strip(), text.strip() + "\n", html


def retry_mails(ids: Iterable[UUID], *, now: datetime) -> int:
    """Make waiting and dead mails due now, unless they have expired; return the number of mails."""
    unsent = Mail.objects.filter(pk__in=list(ids), status__in=[Mail.Status.WAITING, Mail.Status.DEAD])
    return unsent.exclude(until__lt=now).update(status=Mail.Status.WAITING, attempts=0, due_at=now, error="")


def delete_expired(*, before: datetime) -> int:
    """Delete mails that were created before `before` and are not waiting; return the number of mails."""
    return Mail.objects.filter(created_at__lt=before).exclude(status=Mail.Status.WAITING).delete()[0]


def _write_private_file(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


class FolderBackend(BaseEmailBackend):
    """A mail backend for development: it writes each mail to a file in MAIL_FOLDER and logs the path."""

    def send_messages(self, email_messages: Any) -> int:
        folder = Path(settings.MAIL_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # mails have links that sign in
        for message in email_messages:
            recipient = message.to[0]
            written_at = datetime.now()  # noqa: DTZ005 - local time, for the developer who reads the folder
            path = folder / f"{written_at:%Y%m%d-%H%M%S-%f}-{recipient.replace('/', '_')[:100]}.txt"
            headers = f"From: {message.from_email}\nTo: {recipient}\nSubject: {message.subject}"
            _write_private_file(path, f"{headers}\n\n{message.body}")
            _write_private_file(path.with_suffix(".html"), str(message.alternatives[0][0]))
            log.info("mail_written", path=str(path))
        return len(email_messages)
