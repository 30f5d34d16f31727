"""Users, their roles, and what belongs to their accounts."""

from accounts.models.credentials import (
    ApiKey,
    ApiKeyQuerySet,
    DataExport,
    EmailProof,
    Identity,
    Passkey,
    RecoveryCode,
    Session,
    SessionQuerySet,
    SpentChallenge,
    Totp,
)
from accounts.models.users import (
    MAX_EMAIL_CHARACTERS,
    EmailKeyField,
    Kdf,
    Role,
    User,
    UserManager,
    normalise_email,
)

__all__ = [
    "MAX_EMAIL_CHARACTERS",
    "ApiKey",
    "ApiKeyQuerySet",
    "DataExport",
    "EmailKeyField",
    "EmailProof",
    "Identity",
    "Kdf",
    "Passkey",
    "RecoveryCode",
    "Role",
    "Session",
    "SessionQuerySet",
    "SpentChallenge",
    "Totp",
    "User",
    "UserManager",
    "normalise_email",
]
