"""What an operator should hear of backups before a process serves."""

import structlog
from django.conf import settings

from backups.object_stores import same_place

log = structlog.get_logger(__name__)


def check() -> None:
    """Warn where backups lie beside what they save: what takes one away takes both."""
    backups = settings.BACKUP_STORE_URL
    if settings.BACKUP_S3_REGION:
        backups = f"{backups}{'&' if '?' in backups else '?'}region={settings.BACKUP_S3_REGION}"
    if not settings.DEVELOPMENT and same_place(backups, settings.OBJECT_STORE_URL):
        log.warning(
            "backups_beside_assets",
            advice="give BACKUP_STORE_URL another region or endpoint than OBJECT_STORE_URL",
        )
