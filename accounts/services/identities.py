"""Sign-in by an OpenID Connect provider, and the provider accounts that are connected to a user."""

from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction

from accounts.credentials import challenges, oidc
from accounts.credentials.known_devices import Device
from accounts.credentials.oidc import Claims
from accounts.errors import (
    ChallengeRefused,
    ConnectFirst,
    CredentialsRefused,
    IdentityTaken,
    ProviderEmailUnverified,
    ProviderRefused,
)
from accounts.models import Identity, Session, User, normalise_email
from accounts.services.locks import lock_active_user
from accounts.services.roles import USER_ROLE
from accounts.services.sign_in import open_session_after_first_factor
from accounts.services.users import insert_user
from audit import actors
from audit.actors import ANONYMOUS
from audit.services import record
from audit.subjects import Subject
from core import encryption
from core.jobs import mail

BROWSER_COOKIE_PURPOSE = "oidc browser"
NONCE_PURPOSE = "oidc nonce"
VERIFIER_PURPOSE = "oidc verifier"


def begin_oidc(provider: str, *, user: User | None, now: datetime) -> tuple[str, str]:
    """Return the provider's authorization URL and a secret for a cookie of this browser.

    With `user` the flow connects a provider account to them; without it the flow signs in. Nonce and PKCE
    verifier are derived from the random part of `state`, so nothing is stored until the browser returns.
    Raises NotFound, ProviderUnavailable.
    """
    state, random = challenges.issue_challenge(_challenge_purpose(provider, user), user=user, now=now)
    flow_id = random.hex()
    authorization_url = oidc.authorization_url(
        provider,
        state=state,
        nonce=encryption.sign(NONCE_PURPOSE, flow_id),
        verifier=encryption.sign(VERIFIER_PURPOSE, flow_id),
    )
    return authorization_url, encryption.sign(BROWSER_COOKIE_PURPOSE, flow_id)


def sign_in_by_oidc(
    provider: str, *, code: str, state: str, iss: str = "", cookie: str, device: Device, now: datetime
) -> Session:
    """Open a session for the user that the provider authenticated, and create their account if necessary.

    Raises ChallengeRefused (`state` of another browser, expired, or used before), NotFound,
    ProviderUnavailable, ProviderRefused, ConnectFirst, ProviderEmailUnverified, CredentialsRefused,
    EmailTaken, EmailUnverified, MfaRequired.
    """
    try:
        challenge, claims = _verify_callback(
            provider, None, code=code, state=state, iss=iss, cookie=cookie, now=now
        )
        with transaction.atomic():
            challenges.spend_challenge(challenge)
            user = _find_or_create_user(provider, claims, now=now)
    except (
        ChallengeRefused,
        ProviderRefused,
        CredentialsRefused,
        ConnectFirst,
        ProviderEmailUnverified,
    ) as refusal:
        record("sign_in.failed", actor=ANONYMOUS, subject=Subject("user"), factor=provider, code=refusal.code)
        raise
    return open_session_after_first_factor(user, method=provider, device=device, now=now)


def connect_identity(
    user: User, provider: str, *, code: str, state: str, iss: str = "", cookie: str, now: datetime
) -> Identity:
    """Connect a provider account to `user`. Returns the existing row when it is connected already.

    Raises IdentityTaken, ChallengeRefused, NotFound, ProviderUnavailable, ProviderRefused,
    CredentialsRefused.
    """
    challenge, claims = _verify_callback(
        provider, user, code=code, state=state, iss=iss, cookie=cookie, now=now
    )
    with transaction.atomic():
        lock_active_user(user)
        challenges.spend_challenge(challenge)
        _lock_provider_account(claims)
        identity = Identity.objects.filter(issuer=claims.issuer, subject=claims.subject).first()
        if identity and identity.user_id != user.pk:
            raise IdentityTaken
        return identity or _create_identity(user, provider, claims, now=None)


@transaction.atomic
def disconnect_identity(identity: Identity) -> None:
    """Disconnect a provider account. The owner can still sign in another way or reset the password."""
    user = identity.user
    subject = identity.as_subject()
    if Identity.objects.filter(pk=identity.pk).delete()[0]:
        record("identity.disconnected", actor=actors.user(user), subject=subject)
        mail.enqueue_mail(
            user.email, "identities_changed", person=user.pk, added=False, provider=identity.provider
        )


def _challenge_purpose(provider: str, user: User | None) -> str:
    return f"oidc connect {provider}" if user else f"oidc sign-in {provider}"


def _verify_callback(
    provider: str, user: User | None, *, code: str, state: str, iss: str, cookie: str, now: datetime
) -> tuple[challenges.Challenge, Claims]:
    """Verify what the browser brings back from the provider, and exchange the code for claims.

    `iss` is the issuer identification of RFC 9207. Raises ChallengeRefused, NotFound, ProviderRefused,
    ProviderUnavailable.
    """
    challenge = challenges.verify_challenge(state, _challenge_purpose(provider, user), now=now)
    flow_id = challenge.nonce.hex()
    is_same_user = challenge.user_id == (user.pk if user else None)
    is_same_epoch = challenge.epoch == (user.epoch if user else 0)
    if not is_same_user or not is_same_epoch or not cookie.isascii():
        raise ChallengeRefused
    if not encryption.verify_signature(BROWSER_COOKIE_PURPOSE, flow_id, cookie):
        raise ChallengeRefused
    if iss and iss != oidc.get_provider(provider).issuer:
        raise ProviderRefused
    claims = oidc.exchange_code(
        provider,
        code,
        nonce=encryption.sign(NONCE_PURPOSE, flow_id),
        verifier=encryption.sign(VERIFIER_PURPOSE, flow_id),
    )
    return challenge, claims


def _find_or_create_user(provider: str, claims: Claims, *, now: datetime) -> User:
    """Return the user of these claims: connected before, matched by address, or new.

    An existing account is matched by address only when both the provider and we have verified the address,
    and never when it belongs to staff. Raises CredentialsRefused, ConnectFirst, ProviderEmailUnverified,
    EmailTaken.
    """
    _lock_provider_account(claims)
    identity = (
        Identity.objects.select_related("user").filter(issuer=claims.issuer, subject=claims.subject).first()
    )
    if identity:
        if identity.user.deleted_at or not identity.user.is_active:
            raise CredentialsRefused
        Identity.objects.filter(pk=identity.pk).update(last_used_at=now)
        return identity.user
    email = _verified_email(claims)
    user = User.objects.alive().select_for_update(no_key=True).filter(email=email).first()
    if user is None:
        user = insert_user(
            email=email,
            password_hash=make_password(None),
            name=claims.name,
            age=None,
            roles={USER_ROLE},
            actor=None,
            verified_at=now,
        )
        _create_identity(user, provider, claims, now=now, quietly=True)
    elif not user.email_verified_at or not user.is_active or user.is_staff:
        raise ConnectFirst
    else:
        _create_identity(user, provider, claims, now=now)
    return user


def _verified_email(claims: Claims) -> str:
    """Return the normalised address of the claims.

    Raises ProviderEmailUnverified when the provider has not verified it, and when normalisation would change
    more than case and surrounding space: the result would be another address than the provider verified.
    """
    email = normalise_email(claims.email)
    try:
        validate_email(email)
    except ValidationError:
        raise ProviderEmailUnverified from None
    if not claims.verified or len(email) > 254 or claims.email.strip().lower() != email:
        raise ProviderEmailUnverified
    return email


def _create_identity(
    user: User, provider: str, claims: Claims, *, now: datetime | None, quietly: bool = False
) -> Identity:
    """Connect a provider account, and mail the owner unless `quietly`. `now` is the first sign-in by it."""
    identity = Identity.objects.create(
        user=user, provider=provider, issuer=claims.issuer, subject=claims.subject, last_used_at=now
    )
    record("identity.connected", actor=actors.user(user), subject=identity)
    if not quietly:
        mail.enqueue_mail(user.email, "identities_changed", person=user.pk, added=True, provider=provider)
    return identity


def _lock_provider_account(claims: Claims) -> None:
    """Lock a provider account until the end of the transaction.

    Of two parallel first sign-ins the second then waits and finds the account that the first created.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{claims.issuer} {claims.subject}"]
        )
