"""What roles may be allowed to see of the trail."""

from core.permissions import allow_for_api_keys, permission

AUDIT_READ = permission("audit.read", "Read everybody's audit trail")
LOGS_READ = permission("logs.read", "Read the server's warnings and errors")
allow_for_api_keys(AUDIT_READ, LOGS_READ)
