"""Permissions of the audit trail and the server log. Staff roles and API keys may hold them."""

from core.permissions import allow_for_api_keys, permission

AUDIT_READ = permission("audit.read", "Read every user's audit trail")
LOGS_READ = permission("logs.read", "Read the server's warnings and errors")
allow_for_api_keys(AUDIT_READ, LOGS_READ)
