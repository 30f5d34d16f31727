"""The ways the vault says no."""

from core.errors import DomainError


class SessionOver(DomainError):
    """Signed out while the request waited."""

    code, status, message = "token_revoked", 401, "This session has ended. Sign in again."


class VaultExists(DomainError):
    code, status, message = "vault_exists", 409, "There is another vault with this id already."


class ItemExists(DomainError):
    code, status, message = "item_exists", 409, "There is another item with this id already."


class VersionSkipped(DomainError):
    code, status, message = (
        "version_skipped",
        400,
        "The version in an envelope is the one before it plus one; the first is 1.",
    )


class QuotaReached(DomainError):
    code, status, message = (
        "quota_reached",
        409,
        "Your vaults are full. Delete something, or wait until the trash is emptied.",
    )


class VaultFull(DomainError):
    code, status, message = (
        "vault_full",
        409,
        "This vault is as large as a change of its key allows. Begin another one.",
    )


class ItemsDiffer(DomainError):
    code, status, message = (
        "items_differ",
        409,
        "These are not all the items of this vault as they are now. Read them again.",
    )


class VaultsDiffer(DomainError):
    code, status, message = (
        "vaults_differ",
        409,
        "These are not all your vaults as they are now, those in the trash included. Read them again.",
    )


class VaultsSealed(DomainError):
    code, status, message = (
        "vaults_sealed",
        409,
        "Your vaults open with the old password alone. Send them sealed anew together with the new one: POST /auth/password/vaults.",
    )


class CursorUnknown(DomainError):
    code, status, message = "cursor_unknown", 409, "This cursor is not one of these changes. Begin again without one."
