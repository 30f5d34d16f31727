"""Proving that somebody reads a mailbox: sign-up, confirmation, change of address, forgotten password.

A request writes one row, the same for every address; a worker looks whether there is an account, and mails. So neither
the answer nor its time tells who is a customer.
"""

import json
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction

from accounts import challenges
from accounts.errors import EmailTaken, LinkRefused
from accounts.models import EmailProof, User, normalise_email
from accounts.services.people import add_user, end_links, set_password
from accounts.services.roles import USER
from audit import actors
from audit.services import Subject, record
from core import jobs, keys, mail

Purpose = EmailProof.Purpose
LIFETIMES = {Purpose.RESET: timedelta(minutes=30), Purpose.CHANGE: timedelta(hours=1)}
LIFETIME = timedelta(hours=24)
MAILS_AN_HOUR = 5  # to one address; whoever asks more often has the earlier ones
SIGNATURE = "mailed link"


def request_sign_up(*, email: str, password: str, name: str = "", age: int | None = None, now: datetime) -> None:
    """Somebody wants an account; it exists once they open the link. Costs one hash, account or not."""
    details = {"password": make_password(password), "name": name, "age": age}
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
    """Mail a link to the new address, and a notice to the old one. The account keeps its address until it is opened."""
    _request(Purpose.CHANGE, email, now=now, user=user)
    record("user.email_change_requested", actor=actors.user(user), subject=user, personal={"email_after": email})
    mail.post(user.email, "email_change_requested", person=user.pk, email=normalise_email(email))


@transaction.atomic
def _request(purpose: str, email: str, *, now: datetime, user: User | None = None, details: str = "{}") -> None:
    from accounts.tasks import mail_proofs as task

    expires = now + LIFETIMES.get(Purpose(purpose), LIFETIME)
    proof = EmailProof.objects.create(
        purpose=purpose, email=normalise_email(email), user=user, details=details, due_at=now, expires_at=expires
    )
    who = actors.user(user) if user else actors.ANONYMOUS
    subject = Subject("email_proof", proof.pk, proof.email, owner_id=user.pk if user else None)
    record("email_proof.requested", actor=who, subject=subject, purpose=str(purpose))
    jobs.nudge(task)


def mail_proofs(*, now: datetime) -> int:
    """Mail the links that were asked for; return how many requests were looked at."""
    proofs = jobs.claim(EmailProof, now=now)
    return sum(jobs.run(proof, lambda proof=proof: _answer(proof, now=now), now=now) for proof in proofs)  # type: ignore[misc]


@transaction.atomic
def _answer(proof: EmailProof, *, now: datetime) -> None:
    """Decide what to mail for one request, if anything."""
    asked = EmailProof.objects.filter(email=proof.email, id__lt=proof.pk, created_at__gt=now - timedelta(hours=1))
    if asked.count() >= MAILS_AN_HOUR:
        return
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
            mail.post(
                account.email, "already_registered", person=account.pk, link=f"{settings.FRONT_END_URL}/forgot-password"
            )
        return
    _mail_link(proof, "confirm_sign_up", "verify-email")  # without the name: whoever typed it may be a stranger


def _answer_verify(proof: EmailProof, account: User | None) -> None:
    if account and account.pk == proof.user_id and not account.email_verified_at:
        _mail_link(proof, "verify_email", "verify-email")


def _answer_change(proof: EmailProof, account: User | None) -> None:
    if account is None:
        _mail_link(proof, "confirm_email_change", "verify-email")
    elif account.pk != proof.user_id:
        mail.post(proof.email, "address_in_use", person=account.pk)


def _answer_reset(proof: EmailProof, account: User | None) -> None:
    if account and account.is_active:
        proof.user = account
        proof.save(update_fields=["user"])
        _mail_link(proof, "reset_password", "reset-password")


def _answer_resend(proof: EmailProof, account: User | None) -> None:
    if account and not account.email_verified_at:
        proof.purpose, proof.user = Purpose.VERIFY, account
        proof.save(update_fields=["purpose", "user"])
        _mail_link(proof, "verify_email", "verify-email")
    elif account is None:
        open_ones = EmailProof.objects.filter(email=proof.email, purpose=Purpose.SIGN_UP, used_at=None)
        for found in open_ones.filter(expires_at__gt=proof.created_at)[:MAILS_AN_HOUR]:
            if found.details != "{}":  # encrypted, so the database cannot tell
                _answer_sign_up(found, None)
                break


def _mail_link(proof: EmailProof, template: str, page: str) -> None:
    link = f"{settings.FRONT_END_URL}/{page}#{token_of(proof)}"  # after the #, so that no server log has it
    mail.post(proof.email, template, person=proof.user_id, until=proof.expires_at, link=link)


def token_of(proof: EmailProof) -> str:
    """`id.HMAC`: computed, never stored."""
    return f"{proof.pk.hex}.{keys.sign(SIGNATURE, proof.pk.hex)}"


def _open_proof(token: str, purposes: set[str], *, now: datetime) -> EmailProof:
    """The proof of a token that is still good, locked until the caller's transaction ends. Raises LinkRefused."""
    pk, _, mac = token.partition(".")
    if len(token) > 200 or not token.isascii() or not keys.genuine(SIGNATURE, pk, mac):
        raise LinkRefused
    found = EmailProof.objects.select_for_update().filter(pk=UUID(pk), used_at=None, expires_at__gt=now)
    proof = found.filter(purpose__in=purposes).first()
    if proof is None:
        raise LinkRefused
    EmailProof.objects.filter(pk=proof.pk).update(used_at=now, details="{}")
    return proof


@transaction.atomic
def confirm_email(token: str, *, now: datetime) -> User | None:
    """Use a mailed link once. The new user of a sign-up, who is to be signed in; None for an account that was there.

    Raises LinkRefused: also when the address got an account meanwhile.
    """
    proof = _open_proof(token, {Purpose.SIGN_UP, Purpose.VERIFY, Purpose.CHANGE}, now=now)
    if proof.purpose == Purpose.SIGN_UP:
        return _finish_sign_up(proof, now=now)
    user = User.objects.alive().select_for_update(of=("self",)).filter(email_proofs=proof).first()
    if user is None or (proof.purpose == Purpose.VERIFY and user.email != proof.email):
        raise LinkRefused
    old = user.email
    try:
        with transaction.atomic():
            user.email, user.email_verified_at, user.version = proof.email, now, user.version + 1
            user.save(update_fields=["email", "email_verified_at", "version", "updated_at"])
    except IntegrityError:
        raise LinkRefused from None
    if proof.purpose == Purpose.VERIFY:
        record("user.email_verified", actor=actors.user(user), subject=user)
        return None
    end_links(user.pk, now=now)
    told = {"email_before": old, "email_after": user.email}
    record("user.email_changed", actor=actors.user(user), subject=user, personal=told)
    mail.post(old, "email_changed", person=user.pk)
    return None


def _finish_sign_up(proof: EmailProof, *, now: datetime) -> User:
    details = json.loads(proof.details)
    if "password" not in details:
        raise LinkRefused
    try:
        return add_user(
            email=proof.email,
            encoded=details["password"],
            name=details["name"],
            age=details["age"],
            roles={USER},
            actor=None,
            verified_at=now,
        )
    except EmailTaken:
        raise LinkRefused from None


@transaction.atomic
def reset_password(token: str, password: str, *, now: datetime) -> None:
    """Choose a new password by a mailed link. Ends every session; a second factor stays what it is.

    Raises LinkRefused, and Django's ValidationError for a password that is too weak, which leaves the link good.
    """
    proof = _open_proof(token, {Purpose.RESET}, now=now)
    user = User.objects.alive().filter(email_proofs=proof, is_active=True, email=proof.email).first()
    if user is None:
        raise LinkRefused
    validate_password(password, user)
    set_password(user.pk, password, actor=actors.user(user), now=now, verified_at=now)


def forget_proofs(*, now: datetime) -> int:
    """Delete links and challenges that ended a day ago; return how many."""
    old = EmailProof.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()[0]
    return old + challenges.forget(now=now)
