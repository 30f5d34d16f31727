"""Warnings about the configuration of backups when a process starts."""

import structlog
from django.conf import settings

from backups.object_stores import share_failure_domain

log = structlog.get_logger(__name__)


def warn_of_shared_failure_domain() -> None:
    """Log a warning when backups are stored where the assets are, because one loss would take both."""
    backup_url = settings.BACKUP_STORE_URL
    if settings.BACKUP_S3_REGION:
        backup_url = f"{backup_url}{'&' if '?' in backup_url else '?'}region={settings.BACKUP_S3_REGION}"
    if not settings.DEVELOPMENT and share_failure_domain(backup_url, settings.OBJECT_STORE_URL):
        log.warning(
            "backups_beside_assets",
            advice="give BACKUP_STORE_URL another region or endpoint than OBJECT_STORE_URL",
        )
