"""What roles may be allowed to do with backups."""

from core.permissions import allow_for_api_keys, permission

BACKUPS_READ = permission("backups.read", "See backups and whether they are proven")
BACKUPS_WRITE = permission("backups.write", "Start backups, verify them and prove them by restoring")
allow_for_api_keys(BACKUPS_READ, BACKUPS_WRITE)
