"""Proving that somebody reads a mailbox: sign-up, confirmation, change of address, forgotten password.

A request writes one row, the same for every address; a worker looks whether there is an account, and mails.
So neither the answer nor its time tells who is a customer.
"""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.credentials import challenges
from accounts.errors import EmailTaken, KdfLowered, LinkRefused, VaultLossUnconfirmed
from accounts.models import EmailProof, Kdf, User, normalise_email
from accounts.services.roles import USER
from accounts.services.users import add_user, delete_user, end_links, restore_user, set_password
from audit import actors
from audit.services import record
from audit.subjects import Subject
from core import encryption
from core.http.preconditions import IfMatch
from core.jobs import mail, queue
from core.models import Mail

Purpose = EmailProof.Purpose
LIFETIMES = {Purpose.RESET: timedelta(minutes=30), Purpose.CHANGE: timedelta(hours=1)}
LIFETIME = timedelta(hours=24)
MAILS_AT_ONCE = 5  # of one kind to one address, while their links live; whoever asks more often has those
SIGNATURE = "mailed link"
BLIND_RESET = (
    "reset_blind",
    "reset-password?scheme=blind",
)  # so that the page does not send the password itself


def request_sign_up(
    *,
    email: str,
    password: str,
    kdf: Kdf | None = None,
    name: str = "",
    age: int | None = None,
    now: datetime,
) -> None:
    """Somebody wants an account; it exists once they open the link. Costs one hash, account or not."""
    details: dict[str, Any] = {"password": make_password(password), "name": name, "age": age}
    if kdf:
        details["kdf"] = [kdf.iterations, kdf.salt.hex()]
    _request(Purpose.SIGN_UP, email, now=now, details=json.dumps(details))


def request_reset(email: str, *, now: datetime) -> None:
    """Somebody forgot a password."""
    _request(Purpose.RESET, email, now=now)


def request_resend(email: str, *, now: datetime) -> None:
    """Somebody waits for a link to confirm an address."""
    _request(Purpose.RESEND, email, now=now)


def request_verification(user: User, *, now: datetime) -> None:
    """Ask the owner of an account to confirm its address."""
    _request(Purpose.VERIFY, user.email, now=now, user=user)


@transaction.atomic
def request_change(user: User, email: str, *, now: datetime) -> None:
    """Mail a link to the new address, and a notice to the old one.

    The account keeps its address until it is opened.
    """
    _request(Purpose.CHANGE, email, now=now, user=user)
    record(
        "user.email_change_requested", actor=actors.user(user), subject=user, personal={"email_after": email}
    )
    mail.enqueue_mail(user.email, "email_change_requested", person=user.pk, email=normalise_email(email))


@transaction.atomic
def _request(
    purpose: str, email: str, *, now: datetime, user: User | None = None, details: str = "{}"
) -> None:
    expires = now + LIFETIMES.get(Purpose(purpose), LIFETIME)
    proof = EmailProof.objects.create(
        purpose=purpose,
        email=normalise_email(email),
        user=user,
        details=details,
        due_at=now,
        expires_at=expires,
    )
    who = actors.user(user) if user else actors.ANONYMOUS
    subject = Subject("email_proof", proof.pk, owner_id=user.pk if user else None)
    record("email_proof.requested", actor=who, subject=subject, purpose=str(purpose))
    queue.enqueue("accounts.tasks.mail_proofs")


def mail_proofs(*, now: datetime) -> int:
    """Mail the links that were asked for; return how many requests were looked at."""
    proofs = queue.claim(EmailProof, now=now)
    return sum(queue.run(proof, lambda proof=proof: _answer(proof, now=now), now=now) for proof in proofs)  # type: ignore[misc]


@transaction.atomic
def _answer(proof: EmailProof, *, now: datetime) -> None:
    """Decide what to mail for one request, if anything."""
    account = User.objects.alive().filter(email=proof.email).first()
    {
        Purpose.SIGN_UP: _answer_sign_up,
        Purpose.VERIFY: _answer_verify,
        Purpose.CHANGE: _answer_change,
        Purpose.RESET: _answer_reset,
        Purpose.RESEND: _answer_resend,
    }[Purpose(proof.purpose)](proof, account)


def _answer_sign_up(proof: EmailProof, account: User | None) -> None:
    if account or User.objects.deleted().filter(email=proof.email).exists():
        proof.details = "{}"
        proof.save(update_fields=["details"])
        if account:
            _mail(
                proof,
                "already_registered",
                person=account.pk,
                link=f"{settings.FRONT_END_URL}/forgot-password",
            )
        return
    _mail_link(
        proof, "confirm_sign_up", "verify-email"
    )  # without the name: whoever typed it may be a stranger


def _answer_verify(proof: EmailProof, account: User | None) -> None:
    if account and account.pk == proof.user_id and not account.email_verified_at:
        _mail_link(proof, "verify_email", "verify-email")


def _answer_change(proof: EmailProof, account: User | None) -> None:
    if account is None:
        _mail_link(proof, "confirm_email_change", "verify-email")
    elif account.pk != proof.user_id:
        _mail(proof, "address_in_use", person=account.pk)


def _answer_reset(proof: EmailProof, account: User | None) -> None:
    if account and account.is_active:
        proof.user = account
        proof.save(update_fields=["user"])
        blind = account.scheme == User.Scheme.BLIND
        _mail_link(proof, *BLIND_RESET if blind else ("reset_password", "reset-password"))


def _answer_resend(proof: EmailProof, account: User | None) -> None:
    if account and not account.email_verified_at:
        proof.purpose = Purpose.VERIFY
        proof.user = account
        proof.save(update_fields=["purpose", "user"])
        _mail_link(proof, "verify_email", "verify-email")
    elif account is None:
        open_ones = EmailProof.objects.filter(email=proof.email, purpose=Purpose.SIGN_UP, used_at=None)
        for found in open_ones.filter(expires_at__gt=proof.created_at)[:MAILS_AT_ONCE]:
            if found.details != "{}":  # encrypted, so the database cannot tell
                _answer_sign_up(found, None)
                break


def _mail_link(proof: EmailProof, template: str, page: str) -> None:
    _mail(proof, template, person=proof.user_id, until=proof.expires_at, link=link_of(proof, page))


def link_of(proof: EmailProof, page: str) -> str:
    """Where a mail leads. The token comes after the #, so that no server log has it."""
    return f"{settings.FRONT_END_URL}/{page}#{token_of(proof)}"


def _mail(proof: EmailProof, template: str, **facts: Any) -> None:
    """Mail it, unless this address got as many of the same kind while their links lived: one of those is
    good.
    """
    lives = min(LIFETIMES.get(Purpose(proof.purpose), LIFETIME), timedelta(hours=1))
    lately = Mail.objects.filter(to=proof.email, template=template, created_at__gt=timezone.now() - lives)
    if lately.count() < MAILS_AT_ONCE:
        mail.enqueue_mail(proof.email, template, **facts)


def token_of(proof: EmailProof) -> str:
    return encryption.make_token(SIGNATURE, proof.pk)


def _find_proof(token: str, purposes: set[str], *, now: datetime) -> EmailProof:
    """The proof of a token that is still good. Raises LinkRefused."""
    if (pk := encryption.verify_token(SIGNATURE, token)) is None:
        raise LinkRefused
    found = EmailProof.objects.filter(pk=pk, used_at=None, expires_at__gt=now, purpose__in=purposes).first()
    if found is None:
        raise LinkRefused
    return found


def _use(proof: EmailProof, *, now: datetime) -> None:
    """Use a proof up.

    The user's row is locked before, as everywhere. Raises LinkRefused when somebody was faster.
    """
    if not EmailProof.objects.filter(pk=proof.pk, used_at=None).update(used_at=now, details="{}"):
        raise LinkRefused


@transaction.atomic
def confirm_email(token: str, *, now: datetime) -> User | None:
    """Use a mailed link once.

    The new user of a sign-up, who is to be signed in; None for an account that was there.

    Raises LinkRefused: also when the address got an account meanwhile.
    """
    proof = _find_proof(token, {Purpose.SIGN_UP, Purpose.VERIFY, Purpose.CHANGE}, now=now)
    if proof.purpose == Purpose.SIGN_UP:
        return _finish_sign_up(proof, now=now)
    user = _owner(proof)
    if proof.purpose == Purpose.VERIFY and user.email != proof.email:
        raise LinkRefused
    _use(proof, now=now)
    old = user.email
    try:
        with transaction.atomic():
            user.email = proof.email
            user.email_verified_at = now
            user.version = user.version + 1
            user.save(update_fields=["email", "email_verified_at", "version", "updated_at"])
    except IntegrityError:
        raise LinkRefused from None
    if proof.purpose == Purpose.VERIFY:
        record("user.email_verified", actor=actors.user(user), subject=user)
        return None
    end_links(User(pk=user.pk, email=old), now=now)
    told = {"email_before": old, "email_after": user.email}
    record("user.email_changed", actor=actors.user(user), subject=user, personal=told)
    mail.enqueue_mail(old, "email_changed", person=user.pk)
    return None


def _owner(proof: EmailProof) -> User:
    """The active account of a proof, locked. Raises LinkRefused."""
    alive = User.objects.alive().select_for_update(no_key=True, of=("self",))
    user = alive.filter(email_proofs=proof, is_active=True).first()
    if user is None:
        raise LinkRefused
    return user


def _finish_sign_up(proof: EmailProof, *, now: datetime) -> User:
    """Make the account.

    Where more than one sign-up waits for this address, somebody else may have typed one of them: then no
    password of theirs is taken, and the mailbox gets a link to choose one.
    """
    waiting = EmailProof.objects.filter(
        email=proof.email, purpose=Purpose.SIGN_UP, created_at__gt=now - LIFETIME
    )
    alone = waiting.count() == 1
    details = json.loads(proof.details)
    _use(proof, now=now)
    if "password" not in details:
        raise LinkRefused
    try:
        user = add_user(
            email=proof.email,
            encoded=details["password"] if alone else make_password(None),
            kdf=Kdf(details["kdf"][0], bytes.fromhex(details["kdf"][1]))
            if alone and "kdf" in details
            else None,
            name=details["name"],
            age=details["age"],
            roles={USER},
            actor=None,
            verified_at=now,
        )
    except EmailTaken:
        raise LinkRefused from None
    if not alone:
        request_reset(user.email, now=now)
    return user


def reset_password(
    token: str, password: str, *, now: datetime, kdf: Kdf | None = None, accept_vault_loss: bool = False
) -> None:
    """Choose a new password by a mailed link. Ends every session; a second factor stays what it is.

    Raises LinkRefused, and what leaves the link good: Django's ValidationError for a password that is too
    weak, VaultLossUnconfirmed, BlindForGood, KdfLowered.
    """
    with transaction.atomic():
        proof = _find_proof(token, {Purpose.RESET}, now=now)
        user = _owner(proof)
        if user.email != proof.email:
            raise LinkRefused
        if kdf is None:
            validate_password(password, user)
        if user.kdf and not accept_vault_loss:
            raise VaultLossUnconfirmed
        if user.kdf and kdf and kdf.iterations < user.kdf.iterations:  # that takes the password itself
            raise KdfLowered(user.kdf.iterations)
        _use(proof, now=now)
        set_password(user.pk, password, kdf=kdf, actor=actors.user(user), now=now, verified_at=now, lost=True)


@transaction.atomic
def close_account(user_id: UUID, *, now: datetime, if_match: IfMatch) -> None:
    """Close one's own account: hidden at once, erased after 30 days.

    Until then a mailed link opens it again.
    """
    user = delete_user(user_id, actor=actors.user(User(pk=user_id)), now=now, if_match=if_match)
    expires = now + settings.SOFT_DELETE_FOR
    proof = EmailProof.objects.create(
        purpose=Purpose.RESTORE,
        email=user.email,
        user=user,
        due_at=now,
        expires_at=expires,
        state=EmailProof.State.DONE,
    )
    day = f"{expires:%Y-%m-%d}"
    link = link_of(proof, "restore-account")
    mail.enqueue_mail(proof.email, "account_closed", person=user.pk, until=expires, link=link, day=day)


@transaction.atomic
def restore_account(token: str, *, now: datetime) -> None:
    """Open one's own account again by a mailed link. Raises LinkRefused."""
    proof = _find_proof(token, {Purpose.RESTORE}, now=now)
    user = User.objects.deleted().filter(email_proofs=proof, is_active=True).first()
    if user is None:
        raise LinkRefused
    restore_user(user.pk, actor=actors.user(user), now=now)


def delete_expired_proofs(*, now: datetime) -> int:
    """Delete links and challenges that ended a day ago; return how many."""
    old = EmailProof.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()[0]
    return old + challenges.delete_expired(now=now)
