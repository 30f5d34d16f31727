"""Periodic tasks of accounts. Each calls one service."""

from datetime import datetime

from core.jobs.periodic import periodic_task


@periodic_task()
def mirror_revocations(now: datetime) -> None:
    """Write the revocation tombstones that could not be written to Redis at once."""
    from accounts.credentials import revocation

    revocation.mirror_missing_tombstones(now=now)


@periodic_task()
def mail_requested_links(now: datetime) -> None:
    """Mail the requested links."""
    from accounts.services import email_links

    email_links.mail_requested_links(now=now)


@periodic_task()
def delete_expired_proofs(now: datetime) -> None:
    """Delete expired mailed links and challenges."""
    from accounts.services import email_links

    email_links.delete_expired_proofs(now=now)


@periodic_task()
def make_exports(now: datetime) -> None:
    """Build the requested archives of personal data."""
    from accounts.services import data_exports

    data_exports.make_exports(now=now)


@periodic_task()
def delete_expired_exports(now: datetime) -> None:
    """Delete archives with an expired link."""
    from accounts.services import data_exports

    data_exports.delete_expired_exports(now=now)
