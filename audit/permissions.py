"""What roles may be allowed to see of the trail."""

from core.permissions import permission

AUDIT_READ = permission("audit.read", "Read everybody's audit trail")
LOGS_READ = permission("logs.read", "Read the server's warnings and errors")
