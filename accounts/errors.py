"""The ways accounts say no."""

from typing import Any

from core.errors import DomainError, Unavailable


class EmailTaken(DomainError):
    code, status, message = "email_taken", 409, "There is already an account with this e-mail address."


class CredentialsRefused(DomainError):
    code, status, message = "invalid_credentials", 401, "This e-mail address and password do not go together."


class EmailUnverified(DomainError):
    code, status, message = (
        "email_unverified",
        403,
        "Confirm your e-mail address first: open the link that we have just sent you.",
    )


class LinkRefused(DomainError):
    code, status, message = (
        "link_refused",
        400,
        "This link was used before, is too old, or is not complete. Ask for a new one.",
    )


class RefreshRefused(DomainError):
    code, status, message = "refresh_refused", 401, "Sign in again."


class OriginRefused(DomainError):
    code, status, message = "origin_refused", 403, "This request did not come from a page that may make it."


class ReauthenticationRequired(DomainError):
    code, status, message = (
        "reauthentication_required",
        403,
        "Prove again that it is you: POST /auth/reauthenticate, then repeat this request.",
    )


class MfaRequired(DomainError):
    """The password was right; a second factor must follow."""

    code, status, message = "mfa_required", 401, "Confirm with your second factor."

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__()
        self._members = members

    @property
    def members(self) -> dict[str, Any]:
        """`challenge`, `methods`, `expires_in` seconds, and for a passkey its `public_key` options."""
        return self._members


class MfaEnrolmentRequired(DomainError):
    code, status, message = (
        "mfa_enrolment_required",
        403,
        "This installation asks staff for a second factor. Set one up first: POST /auth/totp or a passkey.",
    )


class ChallengeRefused(DomainError):
    code, status, message = "challenge_refused", 401, "This attempt is too old or was used before. Start again."


class CodeRefused(DomainError):
    code, status, message = "code_refused", 401, "This code is wrong, or was used before."


class PasskeyRefused(DomainError):
    code, status, message = "passkey_refused", 401, "This passkey did not prove who you are."


class ProviderAway(Unavailable):
    code, message = (
        "provider_away",
        "This sign-in provider does not answer. Try again in a moment, or sign in another way.",
    )


class ProviderRefused(DomainError):
    code, status, message = "provider_refused", 401, "The sign-in provider did not prove who you are. Start again."


class ProviderEmailUnverified(DomainError):
    code, status, message = (
        "provider_email_unverified",
        403,
        "The sign-in provider has not checked your e-mail address. Sign up by e-mail, then connect the provider.",
    )


class ConnectFirst(DomainError):
    code, status, message = (
        "connect_first",
        409,
        "There is an account with this e-mail address. Sign in to it another way, then connect the provider.",
    )


class IdentityTaken(DomainError):
    code, status, message = "identity_taken", 409, "This account at the provider is connected to another account."


class FactorExists(DomainError):
    code, status, message = "factor_exists", 409, "An authenticator app is set up already. Remove it first."


class FactorMissing(DomainError):
    code, status, message = "factor_missing", 409, "Set up an authenticator app or a passkey first."


class LastFactor(DomainError):
    code, status, message = "last_factor", 409, "Staff keep at least one second factor. Set up another one first."


class BlindForGood(DomainError):
    code, status, message = (
        "blind_for_good",
        409,
        "This account is blind: the server must not see its password. Send scheme, kdf, salt and auth_hash.",
    )


class BlindStaff(DomainError):
    code, status, message = "blind_staff", 409, "A blind account cannot belong to staff."


class KdfLowered(DomainError):
    """`iterations` of the answer is the least that will do."""

    code, status, message = (
        "kdf_lowered",
        409,
        "A mailed link cannot make the password cheaper to guess: use as many iterations as before, or more.",
    )

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    @property
    def members(self) -> dict[str, Any]:
        return {"iterations": self.iterations}


class VaultLossUnconfirmed(DomainError):
    code, status, message = (
        "vault_loss_unconfirmed",
        409,
        "What the old password encrypted can never be read again, by anybody. Repeat with accept_vault_loss: true.",
    )


class TooManyOfThese(DomainError):
    code, status, message = "too_many", 409, "There are as many of these as there may be. Remove one first."


class LastAdmin(DomainError):
    code, status, message = "last_admin", 409, "This is the last administrator. Appoint another one first."


class BeyondYourRights(DomainError):
    code, status, message = (
        "beyond_your_rights",
        403,
        "You may not give, take or touch rights that you do not have yourself.",
    )


class RoleTaken(DomainError):
    code, status, message = "role_taken", 409, "There is already a role with this name."


class RoleBuiltIn(DomainError):
    code, status, message = "role_built_in", 409, "This role belongs to the platform and stays as it is."


class RoleInUse(DomainError):
    code, status, message = "role_in_use", 409, "Somebody has this role. Take it away first."
