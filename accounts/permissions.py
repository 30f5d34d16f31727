"""What roles may be allowed to do with accounts, and what API keys may be given."""

from core.permissions import allow_for_api_keys, permission, scope

USERS_READ = permission("users.read", "See everybody's account")
USERS_WRITE = permission("users.write", "Make, change, disable and delete accounts, and give roles")
USERS_IMPERSONATE = permission("users.impersonate", "Act as somebody without rights, for half an hour")
ROLES_READ = permission("roles.read", "See roles and permissions")
ROLES_WRITE = permission("roles.write", "Make, change and delete roles")
allow_for_api_keys(USERS_READ, USERS_WRITE, ROLES_READ)
ACCOUNT_READ = scope("account.read", "Read your own account")
