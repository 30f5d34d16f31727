"""Announcements of host changes to every web process, through a Redis stream.

An entry holds the host name. It is added after the commit of the change; a row of `Announcement`, written in
the same transaction as the change, makes sure that it is sent even when Redis was unavailable. The readers
are in `sites.serving.host_routing`.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from core import tenancy
from core.jobs import queue
from core.models import Job
from core.storage import redis
from sites.models import Announcement, Site

STREAM = "edge"
# A process that was idle while more entries than this arrived asks PostgreSQL for each host anyway.
MAX_STREAM_ENTRIES = 10_000
RETRY_DELAY = timedelta(seconds=5)  # the periodic job leaves a row this long to the process that wrote it


def announce_host_change(site: Site, host: str) -> None:
    """Announce that `host` changed. Call it in the transaction of the change.

    Writes a row in that transaction. After the commit it appends to the stream and deletes the row.
    """
    row = Announcement.objects.create(site=site, host=host, due_at=Now() + RETRY_DELAY)

    def send() -> None:
        if not redis.deliver(
            lambda client: client.xadd(STREAM, {"host": host}, maxlen=MAX_STREAM_ENTRIES, approximate=True)
        ):
            return  # the next successful call sends it, or else the periodic job
        with tenancy.context(tenancy.SYSTEM):
            Announcement.objects.filter(pk=row.pk).delete()

    transaction.on_commit(send, robust=True)


def send_due_announcements(*, now: datetime) -> int:
    """Append the announcements that are due to the stream and delete their rows; return how many."""
    sent = queue.run_due(Announcement, _append_to_stream, now=now)
    with tenancy.context(tenancy.SYSTEM):
        Announcement.objects.filter(status=Job.Status.DONE).delete()
    return sent


def _append_to_stream(announcement: Announcement) -> None:
    redis.client().xadd(STREAM, {"host": announcement.host}, maxlen=MAX_STREAM_ENTRIES, approximate=True)
