"""Mail: a row in the transaction of whatever it tells about, sent by a worker, tried again when the server is
away.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string
from django.utils import timezone

from core.jobs import queue
from core.models import Mail

BATCH = 20  # at 10 s a mail at worst, well within the lease
RETENTION = timedelta(days=7)  # who got which mail, and when; what it said goes at once
NOTHING = "{}"

log = structlog.get_logger(__name__)


def enqueue_mail(
    to: str, template: str, *, person: UUID | None = None, until: datetime | None = None, **facts: Any
) -> Mail:
    """Write a mail in the caller's transaction and hurry it after the commit.

    `templates/mail/<template>.txt` and `.html` show `facts` (JSON values; `unsubscribe` is an address that
    ends mails like it); the first line of the text is the subject. It is not sent after `until`.
    """
    mail = Mail.objects.create(
        to=to, template=template, person=person, until=until, facts=json.dumps(facts), due_at=timezone.now()
    )
    queue.enqueue("core.tasks.deliver_mail")
    return mail


def deliver_due_mail(*, now: datetime) -> int:
    """Send what is due, over one connection; return how many were sent."""
    late = Mail.objects.filter(state__in=Mail.OPEN, until__lt=now)
    late.update(state=Mail.State.DEAD, error="too late", facts=NOTHING)
    mails = queue.claim(Mail, now=now, limit=BATCH)
    if not mails:
        return 0
    connection = get_connection(fail_silently=False)
    sent = sum(queue.run(mail, lambda mail=mail: _send(mail, connection), now=now) for mail in mails)  # type: ignore[misc]
    connection.close()
    Mail.objects.filter(state=Mail.State.DONE, sent_at=None).update(sent_at=now, facts=NOTHING)
    return sent


def _send(mail: Mail, connection: Any) -> None:
    facts = json.loads(mail.facts)
    subject, text, html = render(mail.template, facts)
    message = EmailMultiAlternatives(subject, text, settings.MAIL_FROM, [mail.to], connection=connection)
    message.attach_alternative(html, "text/html")
    # The same id on every try: a mail server or client that sees it twice can tell (RFC 5322, 3.6.4).
    message.extra_headers = {
        "Message-ID": f"<{mail.pk}@{settings.APP_HOST}>",
        "Auto-Submitted": "auto-generated",
    }
    if "unsubscribe" in facts:  # RFC 2369 and 8058: the button of a mail client
        stop = {
            "List-Unsubscribe": f"<{facts['unsubscribe']}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        message.extra_headers |= stop
    message.send()


def render(template: str, facts: dict[str, Any]) -> tuple[str, str, str]:
    """Subject, plain text and HTML of a mail."""
    context = {**facts, "app_host": settings.APP_HOST}
    subject, _, text = render_to_string(f"mail/{template}.txt", context).strip().partition("\n")
    return (
        subject.strip(),
        text.strip() + "\n",
        render_to_string(f"mail/{template}.html", {**context, "subject": subject}),
    )


def retry_mails(ids: Iterable[UUID], *, now: datetime) -> int:
    """Try these again that are waiting or dead, unless it is too late for them; return how many."""
    undone = Mail.objects.filter(pk__in=list(ids), state__in=[Mail.State.WAITING, Mail.State.DEAD])
    return undone.exclude(until__lt=now).update(state=Mail.State.WAITING, attempts=0, due_at=now, error="")


def delete_expired(*, before: datetime) -> int:
    """Delete mails that were made before then and are not on their way; return how many."""
    return Mail.objects.filter(created_at__lt=before).exclude(state=Mail.State.WAITING).delete()[0]


class FolderBackend(BaseEmailBackend):
    """Development: each mail is a file that a person can read, and its path is logged."""

    def send_messages(self, email_messages: Any) -> int:
        folder = Path(settings.MAIL_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        for message in email_messages:
            # A file name.
            name = f"{datetime.now():%Y%m%d-%H%M%S-%f}-{message.to[0].replace('/', '_')[:100]}"  # noqa: DTZ005
            path = folder / f"{name}.txt"
            path.write_text(
                f"From: {message.from_email}\nTo: {message.to[0]}\nSubject: {message.subject}\n\n{message.body}"
            )
            path.with_suffix(".html").write_text(str(message.alternatives[0][0]))
            log.info("mail_written", path=str(path))
        return len(email_messages)
