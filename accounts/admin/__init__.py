"""Admin of accounts: users, sessions, API keys, roles, mails, and the sign-in of staff.

Importing the modules registers their admin classes.
"""

from accounts.admin import api_keys, login, mail, roles, sessions, users

__all__ = ["api_keys", "login", "mail", "roles", "sessions", "users"]
