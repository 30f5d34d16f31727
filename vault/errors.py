"""Refusals of the vault."""

from core.errors import DomainError


class SessionRevoked(DomainError):
    """The session ended while the request waited for a lock."""

    code = "token_revoked"
    status = 401
    message = "This session has ended. Sign in again."


class VaultExists(DomainError):
    code = "vault_exists"
    status = 409
    message = "Another vault with this id exists already."


class ItemExists(DomainError):
    code = "item_exists"
    status = 409
    message = "Another item with this id exists already."


class VersionSkipped(DomainError):
    code = "version_skipped"
    status = 400
    message = "The version of an envelope must be the previous version plus one. The first version is 1."


class QuotaReached(DomainError):
    code = "quota_reached"
    status = 409
    message = "Your vaults are full. Delete something, or wait until the trash is emptied."


class VaultFull(DomainError):
    """The vault would outgrow one request. A key rotation sends the whole vault in one request."""

    code = "vault_full"
    status = 409
    message = "This vault is full. Create another vault."


class ItemsDiffer(DomainError):
    """A key rotation does not carry the next version of each item."""

    code = "items_differ"
    status = 409
    message = "The request must contain all items of this vault in their next version. Read them again."


class VaultsDiffer(DomainError):
    """A password change does not carry the next version of each vault's own record."""

    code = "vaults_differ"
    status = 409
    message = (
        "The request must contain all your vaults in their next version, including those in the trash. "
        "Read them again."
    )


class VaultsSealed(DomainError):
    """A password change without re-encrypted vaults."""

    code = "vaults_sealed"
    status = 409
    message = (
        "Your vaults can only be opened with the old password. "
        "Send them re-encrypted together with the new password: POST /auth/password/vaults."
    )


class CursorUnknown(DomainError):
    code = "cursor_unknown"
    status = 409
    message = "This cursor is not valid any more. Start again without a cursor."
