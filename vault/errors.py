"""The ways the vault says no."""

from core.errors import DomainError


class SessionRevoked(DomainError):
    """Signed out while the request waited."""

    code = "token_revoked"
    status = 401
    message = "This session has ended. Sign in again."


class VaultExists(DomainError):
    code = "vault_exists"
    status = 409
    message = "There is another vault with this id already."


class ItemExists(DomainError):
    code = "item_exists"
    status = 409
    message = "There is another item with this id already."


class VersionSkipped(DomainError):
    code = "version_skipped"
    status = 400
    message = "The version in an envelope is the one before it plus one; the first is 1."


class QuotaReached(DomainError):
    code = "quota_reached"
    status = 409
    message = "Your vaults are full. Delete something, or wait until the trash is emptied."


class VaultFull(DomainError):
    code = "vault_full"
    status = 409
    message = "This vault is as large as a change of its key allows. Begin another one."


class ItemsDiffer(DomainError):
    code = "items_differ"
    status = 409
    message = "These are not all the items of this vault as they are now. Read them again."


class VaultsDiffer(DomainError):
    code = "vaults_differ"
    status = 409
    message = "These are not all your vaults as they are now, those in the trash included. Read them again."


class VaultsSealed(DomainError):
    code = "vaults_sealed"
    status = 409
    message = "Your vaults open with the old password alone. Send them sealed anew together with the new one: POST /auth/password/vaults."


class CursorUnknown(DomainError):
    code = "cursor_unknown"
    status = 409
    message = "This cursor is not one of these changes. Begin again without one."
