"""The queues of Celery, and every periodic task with its queue and its period."""

from typing import Any

# Each queue has workers of its own, so that none delays another (docs/running.md).
QUEUES = ["critical", "default", "mail", "bulk", "backups", "restores"]
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# Beat sends a message for every task at least this often. A task with a longer period runs in the first
# message of each slot of its period (core.jobs.periodic).
MESSAGE_SECONDS = 5 * MINUTE


def _task(queue: str, every: int) -> dict[str, Any]:
    """Return a row of PERIODIC_TASKS: a task that runs in `queue` every so many seconds."""
    return {"queue": queue, "seconds": every}


# Every task is periodic, safe to run twice, and finds its work in rows (core.jobs.periodic). A test checks
# that each name exists.
PERIODIC_TASKS = {
    "accounts.tasks.mirror_revocations": _task("critical", MINUTE),
    "analytics.tasks.write_events": _task("critical", 2),
    "audit.tasks.seal_pending": _task("critical", 10),
    "audit.tasks.store_checkpoints": _task("critical", 5 * MINUTE),
    "sites.tasks.publish_scheduled": _task("critical", 10),
    "sites.tasks.sweep_announcements": _task("critical", MINUTE),
    "accounts.tasks.delete_expired_exports": _task("default", HOUR),
    "accounts.tasks.delete_expired_proofs": _task("default", HOUR),
    "accounts.tasks.mail_requested_links": _task("default", MINUTE),
    "analytics.tasks.run_maintenance": _task("default", MINUTE),
    "audit.tasks.sign_checkpoint": _task("default", HOUR),
    "core.tasks.delete_expired_answers": _task("default", HOUR),
    "core.tasks.delete_expired_mail": _task("default", HOUR),
    "core.tasks.deliver_mail": _task("mail", MINUTE),
    "accounts.tasks.make_exports": _task("bulk", MINUTE),
    "analytics.tasks.delete_expired_events": _task("bulk", DAY),
    "analytics.tasks.rebuild_dirty_days": _task("bulk", 5 * MINUTE),
    "analytics.tasks.send_weekly_mails": _task("bulk", 15 * MINUTE),
    "audit.tasks.create_partitions_and_delete_old_logs": _task("bulk", DAY),
    "core.tasks.purge_deleted": _task("bulk", HOUR),
    "sites.tasks.delete_expired": _task("bulk", HOUR),
    "sites.tasks.thin_revisions": _task("bulk", HOUR),
    "backups.tasks.run_pending_jobs": _task("backups", MINUTE),
    "backups.tasks.run_site_restores": _task("restores", MINUTE),
}
