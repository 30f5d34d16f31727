"""The ways accounts say no."""

from typing import Any

from core.errors import DomainError, Unavailable


class EmailTaken(DomainError):
    code = "email_taken"
    status = 409
    message = "There is already an account with this e-mail address."


class CredentialsRefused(DomainError):
    code = "invalid_credentials"
    status = 401
    message = "This e-mail address and password do not go together."


class EmailUnverified(DomainError):
    code = "email_unverified"
    status = 403
    message = "Confirm your e-mail address first: open the link that we have just sent you."


class LinkRefused(DomainError):
    code = "link_refused"
    status = 400
    message = "This link was used before, is too old, or is not complete. Ask for a new one."


class RefreshRefused(DomainError):
    code = "refresh_refused"
    status = 401
    message = "Sign in again."


class OriginRefused(DomainError):
    code = "origin_refused"
    status = 403
    message = "This request did not come from a page that may make it."


class ReauthenticationRequired(DomainError):
    code = "reauthentication_required"
    status = 403
    message = "Prove again that it is you: POST /auth/reauthenticate, then repeat this request."


class MfaRequired(DomainError):
    """The password was right; a second factor must follow."""

    code = "mfa_required"
    status = 401
    message = "Confirm with your second factor."

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__()
        self._members = members

    @property
    def members(self) -> dict[str, Any]:
        """`challenge`, `methods`, `expires_in` seconds, and for a passkey its `public_key` options."""
        return self._members


class MfaEnrolmentRequired(DomainError):
    code = "mfa_enrolment_required"
    status = 403
    message = (
        "This installation asks staff for a second factor. Set one up first: POST /auth/totp or a passkey."
    )


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
    message = "This passkey did not prove who you are."


class ProviderUnavailable(Unavailable):
    code = "provider_away"
    message = "This sign-in provider does not answer. Try again in a moment, or sign in another way."


class ProviderRefused(DomainError):
    code = "provider_refused"
    status = 401
    message = "The sign-in provider did not prove who you are. Start again."


class ProviderEmailUnverified(DomainError):
    code = "provider_email_unverified"
    status = 403
    message = "The sign-in provider has not checked your e-mail address. Sign up by e-mail, then connect the provider."


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
    message = "Staff keep at least one second factor. Set up another one first."


class ZeroKnowledgePermanent(DomainError):
    code = "blind_for_good"
    status = 409
    message = (
        "This account is blind: the server must not see its password. Send scheme, kdf, salt and auth_hash."
    )


class ZeroKnowledgeStaff(DomainError):
    code = "blind_staff"
    status = 409
    message = "A blind account cannot belong to staff."


class KdfLowered(DomainError):
    """`iterations` of the answer is the least that will do."""

    code = "kdf_lowered"
    status = 409
    message = (
        "A mailed link cannot make the password cheaper to guess: use as many iterations as before, or more."
    )

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    @property
    def members(self) -> dict[str, Any]:
        return {"iterations": self.iterations}


class VaultLossUnconfirmed(DomainError):
    code = "vault_loss_unconfirmed"
    status = 409
    message = "What the old password encrypted can never be read again, by anybody. Repeat with accept_vault_loss: true."


class TooManyObjects(DomainError):
    code = "too_many"
    status = 409
    message = "There are as many of these as there may be. Remove one first."


class LastAdmin(DomainError):
    code = "last_admin"
    status = 409
    message = "This is the last administrator. Appoint another one first."


class PermissionsExceeded(DomainError):
    code = "beyond_your_rights"
    status = 403
    message = "You may not give, take or touch rights that you do not have yourself."


class RoleTaken(DomainError):
    code = "role_taken"
    status = 409
    message = "There is already a role with this name."


class RoleBuiltIn(DomainError):
    code = "role_built_in"
    status = 409
    message = "This role belongs to the platform and stays as it is."


class RoleInUse(DomainError):
    code = "role_in_use"
    status = 409
    message = "Somebody has this role. Take it away first."
