"""Permissions and API key scopes of accounts."""

from core.permissions import allow_for_api_keys, permission, scope

USERS_READ = permission("users.read", "See all accounts")
USERS_WRITE = permission("users.write", "Create, change, disable and delete accounts, and assign roles")
USERS_IMPERSONATE = permission("users.impersonate", "Act as a user without permissions, for half an hour")
ROLES_READ = permission("roles.read", "See roles and permissions")
ROLES_WRITE = permission("roles.write", "Create, change and delete roles")
allow_for_api_keys(USERS_READ, USERS_WRITE, ROLES_READ)
ACCOUNT_READ = scope("account.read", "Read your own account")
