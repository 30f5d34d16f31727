"""Errors of accounts. `code` is part of the API contract, `message` is shown to users."""

from typing import Any

from core.errors import DomainError, Unavailable


class EmailTaken(DomainError):
    code = "email_taken"
    status = 409
    message = "There is already an account with this e-mail address."


class CredentialsRefused(DomainError):
    code = "invalid_credentials"
    status = 401
    message = "This e-mail address or password is wrong."


class EmailUnverified(DomainError):
    code = "email_unverified"
    status = 403
    message = "Confirm your e-mail address first: open the link that we have just sent you."


class LinkRefused(DomainError):
    code = "link_refused"
    status = 400
    message = "This link was used before, has expired, or is not complete. Request a new one."


class RefreshRefused(DomainError):
    code = "refresh_refused"
    status = 401
    message = "Sign in again."


class OriginRefused(DomainError):
    code = "origin_refused"
    status = 403
    message = "Requests from this origin are not allowed."


class ReauthenticationRequired(DomainError):
    code = "reauthentication_required"
    status = 403
    message = "Authenticate again with POST /auth/reauthenticate, then repeat this request."


class MfaRequired(DomainError):
    """The first factor was accepted; a second factor must follow."""

    code = "mfa_required"
    status = 401
    message = "Confirm with your second factor."

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__()
        self._members = members

    @property
    def members(self) -> dict[str, Any]:
        """`challenge`, `methods`, `expires_in` (seconds), and WebAuthn options as `public_key`."""
        return self._members


class MfaEnrolmentRequired(DomainError):
    code = "mfa_enrolment_required"
    status = 403
    message = "Staff must have a second factor for this. Set one up first: POST /auth/totp, or add a passkey."


class ChallengeRefused(DomainError):
    code = "challenge_refused"
    status = 401
    message = "This attempt is too old or was used before. Start again."


class CodeRefused(DomainError):
    code = "code_refused"
    status = 401
    message = "This code is wrong, or was used before."


class PasskeyRefused(DomainError):
    code = "passkey_refused"
    status = 401
    message = "This passkey was not accepted."


class ProviderUnavailable(Unavailable):
    code = "provider_away"
    message = "This sign-in provider does not answer. Try again in a moment, or sign in another way."


class ProviderRefused(DomainError):
    code = "provider_refused"
    status = 401
    message = "The sign-in provider did not confirm your identity. Start again."


class ProviderEmailUnverified(DomainError):
    code = "provider_email_unverified"
    status = 403
    message = (
        "The sign-in provider has not verified your e-mail address. "
        "Sign up by e-mail, then connect the provider."
    )


class ConnectFirst(DomainError):
    code = "connect_first"
    status = 409
    message = (
        "There is an account with this e-mail address. Sign in to it another way, then connect the provider."
    )


class IdentityTaken(DomainError):
    code = "identity_taken"
    status = 409
    message = "This account at the provider is connected to another account."


class FactorExists(DomainError):
    code = "factor_exists"
    status = 409
    message = "An authenticator app is set up already. Remove it first."


class FactorMissing(DomainError):
    code = "factor_missing"
    status = 409
    message = "Set up an authenticator app or a passkey first."


class LastFactor(DomainError):
    code = "last_factor"
    status = 409
    message = "Staff need at least one second factor. Set up another one first."


class ZeroKnowledgePermanent(DomainError):
    code = "blind_for_good"
    status = 409
    message = (
        "This account uses zero-knowledge login: the server must not see its password. "
        "Send scheme, kdf, salt and auth_hash."
    )


class ZeroKnowledgeStaff(DomainError):
    code = "blind_staff"
    status = 409
    message = "An account with zero-knowledge login cannot belong to staff."


class KdfLowered(DomainError):
    """The member `iterations` is the lowest accepted number."""

    code = "kdf_lowered"
    status = 409
    message = "A password reset cannot lower the number of iterations. Use at least as many as before."

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    @property
    def members(self) -> dict[str, Any]:
        return {"iterations": self.iterations}


class VaultLossUnconfirmed(DomainError):
    code = "vault_loss_unconfirmed"
    status = 409
    message = (
        "Data that the old password encrypted will be permanently lost. Repeat with accept_vault_loss: true."
    )


class TooManyObjects(DomainError):
    code = "too_many"
    status = 409
    message = "The maximum number is reached. Remove one first."


class ExportFailed(DomainError):
    """Not a response: shown in `failure` of a data export whose attempts are used up."""

    code = "export_failed"
    status = 503
    message = "The archive could not be built. Request it again later."


class ExportTooLarge(DomainError):
    """Not a response: shown in `failure` of a data export."""

    code = "export_too_large"
    status = 413
    message = "Your data is larger than the largest archive that this installation builds. Ask its support."


class LastAdmin(DomainError):
    code = "last_admin"
    status = 409
    message = "This is the last administrator. Appoint another one first."


class PermissionsExceeded(DomainError):
    code = "beyond_your_rights"
    status = 403
    message = "You cannot grant, remove or change permissions that you do not have yourself."


class RoleTaken(DomainError):
    code = "role_taken"
    status = 409
    message = "There is already a role with this name."


class RoleBuiltIn(DomainError):
    code = "role_built_in"
    status = 409
    message = "A built-in role cannot be changed."


class RoleInUse(DomainError):
    code = "role_in_use"
    status = 409
    message = "At least one user has this role. Remove the role from all users first."
