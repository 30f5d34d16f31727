"""How a change reaches every web process: an entry in a Redis stream after the commit, and a row that makes
sure.

The stream carries host names. A process reads it at most once a second; when it cannot, it asks PostgreSQL.
"""

from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from core import tenancy
from core.jobs import queue
from core.storage import redis
from sites.models import Announcement, Site

STREAM = "edge"
MAX_STREAM_ENTRIES = 10_000  # a process that was idle for longer asks PostgreSQL for each host anyway
RETRY_DELAY = timedelta(seconds=5)  # how long the sweep leaves a row to the process that made it


def announce_host_change(site: Site, host: str) -> None:
    """In the caller's transaction: a row. After its commit: the stream, and the row goes."""
    row = Announcement.objects.create(site=site, host=host, due_at=timezone.now() + RETRY_DELAY)

    def send() -> None:
        if not redis.deliver(
            lambda client: client.xadd(STREAM, {"host": host}, maxlen=MAX_STREAM_ENTRIES, approximate=True)
        ):
            return  # sent with the next call that succeeds, or by the sweep
        with tenancy.context(tenancy.SYSTEM):
            Announcement.objects.filter(pk=row.pk).delete()

    transaction.on_commit(send, robust=True)


def send_due_announcements(*, now: datetime) -> int:
    """Send what was not sent; return how many."""
    sent = [
        job
        for job in queue.claim(Announcement, now=now)
        if queue.run(job, partial(_append_to_stream, job.host), now=now)
    ]
    with tenancy.context(tenancy.SYSTEM):
        Announcement.objects.filter(pk__in=[job.pk for job in sent]).delete()
    return len(sent)


def _append_to_stream(host: str) -> None:
    redis.client().xadd(STREAM, {"host": host}, maxlen=MAX_STREAM_ENTRIES, approximate=True)
