"""Sign-in by a provider (OpenID Connect), and which accounts there open which accounts here."""

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
from accounts.services.roles import USER_ROLE
from accounts.services.sign_in import open_session_after_first_factor
from accounts.services.users import insert_user, lock_active_user
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
    """The address to send a browser to, and a secret for it to keep in a cookie.

    `user` connects; nobody signs in.

    Nonce and PKCE verifier are computed from the state's random part: nothing is stored until somebody comes
    back. Raises NotFound, ProviderAway.
    """
    state, random = challenges.issue_challenge(_challenge_purpose(provider, user), user=user, now=now)
    text = random.hex()
    address = oidc.authorization_url(
        provider,
        state=state,
        nonce=encryption.sign(NONCE_PURPOSE, text),
        verifier=encryption.sign(VERIFIER_PURPOSE, text),
    )
    return address, encryption.sign(BROWSER_COOKIE_PURPOSE, text)


def sign_in_by_oidc(
    provider: str, *, code: str, state: str, iss: str = "", cookie: str, device: Device, now: datetime
) -> Session:
    """A session for whoever the provider says it is; an account is made where there is none.

    Raises ChallengeRefused (state of another browser, too old, or used), ProviderAway, ProviderRefused,
    ConnectFirst, ProviderEmailUnverified, CredentialsRefused, EmailTaken, EmailUnverified, MfaRequired.
    """
    try:
        asked, claims = _verify_callback(
            provider, None, code=code, state=state, iss=iss, cookie=cookie, now=now
        )
        with transaction.atomic():
            challenges.spend_challenge(asked)
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
    """Let an account at a provider open this one too. Raises what a sign-in raises, and IdentityTaken."""
    asked, claims = _verify_callback(provider, user, code=code, state=state, iss=iss, cookie=cookie, now=now)
    with transaction.atomic():
        lock_active_user(user)
        challenges.spend_challenge(asked)
        _lock_provider_account(claims)
        found = Identity.objects.filter(issuer=claims.issuer, subject=claims.subject).first()
        if found and found.user_id != user.pk:
            raise IdentityTaken
        return found or _create_identity(user, provider, claims, now=None)


@transaction.atomic
def disconnect_identity(identity: Identity) -> None:
    """The owner can sign in by what is left, or by a link to choose a password."""
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
    """What the browser that was sent away brings back. `iss` is the issuer's answer parameter (RFC 9207)."""
    asked = challenges.verify_challenge(state, _challenge_purpose(provider, user), now=now)
    text = asked.nonce.hex()
    same_user = asked.user_id == (user.pk if user else None) and asked.epoch == (user.epoch if user else 0)
    if (
        not same_user
        or not cookie.isascii()
        or not encryption.verify_signature(BROWSER_COOKIE_PURPOSE, text, cookie)
    ):
        raise ChallengeRefused
    if iss and iss != oidc.get_provider(provider).issuer:
        raise ProviderRefused
    return asked, oidc.exchange_code(
        provider,
        code,
        nonce=encryption.sign(NONCE_PURPOSE, text),
        verifier=encryption.sign(VERIFIER_PURPOSE, text),
    )


def _find_or_create_user(provider: str, claims: Claims, *, now: datetime) -> User:
    """The account that these claims open.

    It is connected by address only where both sides have checked that, and never while it is one of staff.
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
            encoded=make_password(None),
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
    """Raises ProviderEmailUnverified, also for an address that our spelling would make another one of."""
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
    made = Identity.objects.create(
        user=user, provider=provider, issuer=claims.issuer, subject=claims.subject, last_used_at=now
    )
    record("identity.connected", actor=actors.user(user), subject=made)
    if not quietly:
        mail.enqueue_mail(user.email, "identities_changed", person=user.pk, added=True, provider=provider)
    return made


def _lock_provider_account(claims: Claims) -> None:
    """Two first sign-ins of one person at once make one account: the second waits and finds it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{claims.issuer} {claims.subject}"]
        )
