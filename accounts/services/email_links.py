"""Links sent by e-mail: sign-up, address verification, change of address, password reset, account restore.

A request only writes an `EmailProof` row, and the same one for every address. A worker then looks up the
account and decides what to mail. Neither the response nor its duration therefore reveals whether an address
has an account.
"""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.credentials import challenges
from accounts.errors import EmailTaken, KdfLowered, LinkRefused, VaultLossUnconfirmed
from accounts.models import EmailProof, Kdf, User, normalise_email
from accounts.services.roles import USER_ROLE
from accounts.services.users import (
    delete_user,
    expire_email_links,
    insert_user,
    restore_user,
    set_password,
)
from audit import actors
from audit.services import record
from audit.subjects import Subject
from core import encryption
from core.http.preconditions import IfMatch
from core.jobs import mail, queue
from core.models import Mail

Purpose = EmailProof.Purpose
LIFETIME_BY_PURPOSE = {Purpose.RESET: timedelta(minutes=30), Purpose.CHANGE: timedelta(hours=1)}
DEFAULT_LIFETIME = timedelta(hours=24)
# Mails of one template to one address while their links are valid. More requests send nothing: the recipient
# already has valid links.
MAX_RECENT_MAILS_PER_ADDRESS = 5
LINK_SIGNING_PURPOSE = "mailed link"
PASSWORD_RESET_MAIL = ("reset_password", "reset-password")  # template and page
# The page must know the scheme, so that it never sends the password itself.
ZERO_KNOWLEDGE_RESET_MAIL = ("reset_blind", "reset-password?scheme=blind")


def request_sign_up(
    *,
    email: str,
    password: str,
    kdf: Kdf | None = None,
    name: str = "",
    age: int | None = None,
    now: datetime,
) -> None:
    """Request a mail that confirms a sign-up. The account is created when the link is opened.

    Hashes the password once, whether the address has an account or not.
    """
    details: dict[str, Any] = {"password": make_password(password), "name": name, "age": age}
    if kdf:
        details["kdf"] = [kdf.iterations, kdf.salt.hex()]
    _create_proof(Purpose.SIGN_UP, email, now=now, details=json.dumps(details))


def request_password_reset(email: str, *, now: datetime) -> None:
    """Request a mail with a link to choose a new password."""
    _create_proof(Purpose.RESET, email, now=now)


def request_verification_resend(email: str, *, now: datetime) -> None:
    """Request the link that verifies an address or finishes a sign-up once more."""
    _create_proof(Purpose.RESEND, email, now=now)


def request_verification(user: User, *, now: datetime) -> None:
    """Request a mail that asks the owner of an account to verify its address."""
    _create_proof(Purpose.VERIFY, user.email, now=now, user=user)


@transaction.atomic
def request_email_change(user: User, email: str, *, now: datetime) -> None:
    """Request a link to the new address and mail a notice to the current one.

    The account keeps its address until the link is opened.
    """
    _create_proof(Purpose.CHANGE, email, now=now, user=user)
    record(
        "user.email_change_requested", actor=actors.user(user), subject=user, personal={"email_after": email}
    )
    mail.enqueue_mail(user.email, "email_change_requested", person=user.pk, email=normalise_email(email))


@transaction.atomic
def _create_proof(
    purpose: str, email: str, *, now: datetime, user: User | None = None, details: str = "{}"
) -> None:
    proof = EmailProof.objects.create(
        purpose=purpose,
        email=normalise_email(email),
        user=user,
        details=details,
        due_at=Now(),
        expires_at=now + LIFETIME_BY_PURPOSE.get(Purpose(purpose), DEFAULT_LIFETIME),
    )
    actor = actors.user(user) if user else actors.ANONYMOUS
    subject = Subject("email_proof", proof.pk, owner_id=user.pk if user else None)
    record("email_proof.requested", actor=actor, subject=subject, purpose=str(purpose))
    queue.enqueue("accounts.tasks.mail_requested_links")


def mail_requested_links(*, now: datetime) -> int:
    """Process due requests for mailed links. Returns how many were processed."""
    return queue.run_due(EmailProof, _mail_for_request, now=now)


@transaction.atomic
def _mail_for_request(proof: EmailProof) -> None:
    """Decide what to mail for one request, if anything."""
    account = User.objects.alive().filter(email=proof.email).first()
    mail_for_purpose = {
        Purpose.SIGN_UP: _mail_for_sign_up,
        Purpose.VERIFY: _mail_for_verification,
        Purpose.CHANGE: _mail_for_email_change,
        Purpose.RESET: _mail_for_password_reset,
        Purpose.RESEND: _mail_for_resend,
    }[Purpose(proof.purpose)]
    mail_for_purpose(proof, account)


def _mail_for_sign_up(proof: EmailProof, account: User | None) -> None:
    if account is None and not User.objects.deleted().filter(email=proof.email).exists():
        # The mail does not show the name: a stranger may have typed it.
        _mail_link(proof, "confirm_sign_up", "verify-email")
        return
    proof.details = "{}"
    proof.save(update_fields=["details"])
    if account:
        link = f"{settings.FRONT_END_URL}/forgot-password"
        _mail_unless_recently_mailed(proof, "already_registered", person=account.pk, context={"link": link})


def _mail_for_verification(proof: EmailProof, account: User | None) -> None:
    if account and account.pk == proof.user_id and not account.email_verified_at:
        _mail_link(proof, "verify_email", "verify-email")


def _mail_for_email_change(proof: EmailProof, account: User | None) -> None:
    if account is None:
        _mail_link(proof, "confirm_email_change", "verify-email")
    elif account.pk != proof.user_id:
        _mail_unless_recently_mailed(proof, "address_in_use", person=account.pk)


def _mail_for_password_reset(proof: EmailProof, account: User | None) -> None:
    if account and account.is_active:
        proof.user = account
        proof.save(update_fields=["user"])
        zero_knowledge = account.scheme == User.Scheme.ZERO_KNOWLEDGE
        template, page = ZERO_KNOWLEDGE_RESET_MAIL if zero_knowledge else PASSWORD_RESET_MAIL
        _mail_link(proof, template, page)


def _mail_for_resend(proof: EmailProof, account: User | None) -> None:
    if account and not account.email_verified_at:
        proof.purpose = Purpose.VERIFY
        proof.user = account
        proof.save(update_fields=["purpose", "user"])
        _mail_link(proof, "verify_email", "verify-email")
    elif account is None:
        sign_ups = EmailProof.objects.filter(email=proof.email, purpose=Purpose.SIGN_UP, used_at=None)
        for sign_up in sign_ups.filter(expires_at__gt=proof.created_at)[:MAX_RECENT_MAILS_PER_ADDRESS]:
            if sign_up.details != "{}":  # encrypted, so SQL cannot filter on it
                _mail_for_sign_up(sign_up, None)
                break


def _mail_link(proof: EmailProof, template: str, page: str) -> None:
    context = {"link": make_link(proof, page)}
    _mail_unless_recently_mailed(
        proof, template, person=proof.user_id, until=proof.expires_at, context=context
    )


def make_link(proof: EmailProof, page: str) -> str:
    """Return the URL for a mail. The token is in the fragment, so no server logs it."""
    return f"{settings.FRONT_END_URL}/{page}#{make_token(proof)}"


def _mail_unless_recently_mailed(
    proof: EmailProof,
    template: str,
    *,
    person: UUID | None,
    until: datetime | None = None,
    context: dict[str, str] | None = None,
) -> None:
    """Enqueue a mail, unless MAX_RECENT_MAILS_PER_ADDRESS of this template were created for the address
    within the lifetime of their links (at most one hour).
    """
    lifetime = LIFETIME_BY_PURPOSE.get(Purpose(proof.purpose), DEFAULT_LIFETIME)
    since = timezone.now() - min(lifetime, timedelta(hours=1))
    recent = Mail.objects.filter(to=proof.email, template=template, created_at__gt=since)
    if recent.count() < MAX_RECENT_MAILS_PER_ADDRESS:
        mail.enqueue_mail(proof.email, template, person=person, until=until, **(context or {}))


def make_token(proof: EmailProof) -> str:
    """Return the signed token of a proof. It is computed and never stored."""
    return encryption.make_token(LINK_SIGNING_PURPOSE, proof.pk)


def _find_valid_proof(token: str, purposes: set[str], *, now: datetime) -> EmailProof:
    """Return the unused, unexpired proof of a token. Raises LinkRefused."""
    if (pk := encryption.verify_token(LINK_SIGNING_PURPOSE, token)) is None:
        raise LinkRefused
    proof = EmailProof.objects.filter(pk=pk, used_at=None, expires_at__gt=now, purpose__in=purposes).first()
    if proof is None:
        raise LinkRefused
    return proof


def _consume_proof(proof: EmailProof, *, now: datetime) -> None:
    """Mark a proof as used. Raises LinkRefused when a parallel request used it first.

    Callers lock the user's row before, so that all code paths take the two locks in the same order.
    """
    if not EmailProof.objects.filter(pk=proof.pk, used_at=None).update(used_at=now, details="{}"):
        raise LinkRefused


@transaction.atomic
def confirm_email(token: str, *, now: datetime) -> User | None:
    """Use the link of a sign-up, an address verification or a change of address.

    Returns the new user for a sign-up, who is to be signed in, and None for an existing account. Raises
    LinkRefused, also when another account has taken the address in the meantime.
    """
    proof = _find_valid_proof(token, {Purpose.SIGN_UP, Purpose.VERIFY, Purpose.CHANGE}, now=now)
    if proof.purpose == Purpose.SIGN_UP:
        return _finish_sign_up(proof, now=now)
    user = _lock_owner(proof)
    if proof.purpose == Purpose.VERIFY and user.email != proof.email:
        raise LinkRefused
    _consume_proof(proof, now=now)
    email_before = user.email
    _save_verified_email(user, proof.email, now=now)
    if proof.purpose == Purpose.VERIFY:
        record("user.email_verified", actor=actors.user(user), subject=user)
        return None
    expire_email_links(User(pk=user.pk, email=email_before), now=now)
    addresses = {"email_before": email_before, "email_after": user.email}
    record("user.email_changed", actor=actors.user(user), subject=user, personal=addresses)
    mail.enqueue_mail(email_before, "email_changed", person=user.pk)
    return None


def _save_verified_email(user: User, email: str, *, now: datetime) -> None:
    """Store a verified address. Raises LinkRefused when another account has it."""
    try:
        with transaction.atomic():
            user.email = email
            user.email_verified_at = now
            user.version += 1
            user.save(update_fields=["email", "email_verified_at", "version", "updated_at"])
    except IntegrityError:
        raise LinkRefused from None


def _lock_owner(proof: EmailProof) -> User:
    """Return the active account of a proof with its row locked. Raises LinkRefused."""
    alive = User.objects.alive().select_for_update(no_key=True, of=("self",))
    user = alive.filter(email_proofs=proof, is_active=True).first()
    if user is None:
        raise LinkRefused
    return user


def _finish_sign_up(proof: EmailProof, *, now: datetime) -> User:
    """Create the account of a sign-up. Raises LinkRefused.

    When several sign-ups were requested for this address, a stranger may have typed one of the passwords.
    None of them is used then, and the mailbox gets a link to choose a password.
    """
    sign_ups = EmailProof.objects.filter(
        email=proof.email, purpose=Purpose.SIGN_UP, created_at__gt=now - DEFAULT_LIFETIME
    )
    is_only_sign_up = sign_ups.count() == 1
    details = json.loads(proof.details)
    _consume_proof(proof, now=now)
    if "password" not in details:
        raise LinkRefused
    kdf = None
    if is_only_sign_up and "kdf" in details:
        iterations, salt = details["kdf"]
        kdf = Kdf(iterations, bytes.fromhex(salt))
    try:
        user = insert_user(
            email=proof.email,
            password_hash=details["password"] if is_only_sign_up else make_password(None),
            kdf=kdf,
            name=details["name"],
            age=details["age"],
            roles={USER_ROLE},
            actor=None,
            verified_at=now,
        )
    except EmailTaken:
        raise LinkRefused from None
    if not is_only_sign_up:
        request_password_reset(user.email, now=now)
    return user


def reset_password(
    token: str, password: str, *, now: datetime, kdf: Kdf | None = None, accept_vault_loss: bool = False
) -> None:
    """Set a new password by a mailed link. Ends every session; second factors stay.

    Raises LinkRefused. Raises the following and leaves the link valid: Django's ValidationError for a weak
    password, VaultLossUnconfirmed, ZeroKnowledgePermanent, ZeroKnowledgeStaff, KdfLowered.
    """
    with transaction.atomic():
        proof = _find_valid_proof(token, {Purpose.RESET}, now=now)
        user = _lock_owner(proof)
        if user.email != proof.email:
            raise LinkRefused
        if kdf is None:
            validate_password(password, user)
        if user.kdf and not accept_vault_loss:
            raise VaultLossUnconfirmed
        # Lowering the iterations needs the current password, not only the mailbox.
        if user.kdf and kdf and kdf.iterations < user.kdf.iterations:
            raise KdfLowered(user.kdf.iterations)
        _consume_proof(proof, now=now)
        set_password(
            user.pk,
            password,
            kdf=kdf,
            actor=actors.user(user),
            now=now,
            verified_at=now,
            old_password_lost=True,
        )


@transaction.atomic
def close_account(user_id: UUID, *, now: datetime, if_match: IfMatch) -> None:
    """Soft-delete the caller's own account and mail a link that restores it within SOFT_DELETE_FOR.

    Raises PreconditionFailed, LastAdmin.
    """
    user = delete_user(user_id, actor=actors.user(User(pk=user_id)), now=now, if_match=if_match)
    expires = now + settings.SOFT_DELETE_FOR
    proof = EmailProof.objects.create(
        purpose=Purpose.RESTORE,
        email=user.email,
        user=user,
        due_at=Now(),
        expires_at=expires,
        status=EmailProof.Status.DONE,
    )
    mail.enqueue_mail(
        proof.email,
        "account_closed",
        person=user.pk,
        until=expires,
        link=make_link(proof, "restore-account"),
        day=f"{expires:%Y-%m-%d}",
    )


@transaction.atomic
def restore_account(token: str, *, now: datetime) -> None:
    """Restore a closed account by its mailed link. Raises LinkRefused."""
    proof = _find_valid_proof(token, {Purpose.RESTORE}, now=now)
    user = User.objects.deleted().filter(email_proofs=proof, is_active=True).first()
    if user is None:
        raise LinkRefused
    restore_user(user.pk, actor=actors.user(user), now=now)


def delete_expired_proofs(*, now: datetime) -> int:
    """Delete proofs that expired more than a day ago, and spent challenges. Returns how many."""
    expired = EmailProof.objects.filter(expires_at__lt=now - timedelta(days=1))
    return expired.delete()[0] + challenges.delete_expired_challenges(now=now)
