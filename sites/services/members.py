"""Members: invited by mail, given a role, removed; and the handing over of a site.

Locks come in one order: roles (`hold_role`, then other members'), people by id, the site.
"""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.models import User, normalise_email
from audit.actors import SYSTEM, Actor
from audit.services import record
from core import encryption, tenancy
from core.errors import NotFound
from core.jobs import mail
from sites.errors import (
    AlreadyMember,
    InvitationForOther,
    InvitationRefused,
    InvitedOften,
    NotMember,
    OwnerStays,
    TooManyInvitations,
    TooManyMembers,
)
from sites.models import Access, Invitation, Post, Preview, Schedule, Site
from sites.services.posts import show_posts
from sites.services.sites import changed, check_room, locked
from sites.subdomains import host_of

MAX_MEMBERS = 100  # of a site, open invitations among them
INVITATIONS_A_DAY = 50  # by one person
AN_HOUR = 5  # of them to one address
LIFETIME = timedelta(days=7)
SIGNATURE = "site invitation"
ROLE_OF = "SELECT role FROM sites_access WHERE site_id = %s AND user_id = %s"
PLAIN = re.compile(r"(?:[\w &'’,!?()+–-]|\.(?= |$))+")  # what no mail program takes for a link, in one line


def hold_role(site_id: UUID, person: UUID, *, alone: bool) -> str:
    """The role that somebody has until the transaction ends: whoever changes it waits.

    Raises NotFound when there is none.

    `alone` for what changes roles itself, so that two such acts do not wait for each other.
    """
    strength = "UPDATE" if alone else "SHARE"
    with connection.cursor() as cursor:
        cursor.execute(f"{ROLE_OF} FOR {strength}", [site_id, person])
        found = cursor.fetchone()
    if found is None:
        raise NotFound
    return str(found[0])


@transaction.atomic
def invite(site: Site, *, email: str, role: str, actor: Actor, now: datetime) -> Invitation:
    """Mail a link that gives whoever reads this mailbox a role. One sent to it before does not work any more.

    Raises AlreadyMember, TooManyMembers, TooManyInvitations, InvitedOften.
    """
    if actor.id is not None:
        _held(actor.id)  # two sites of one person must not pass the bound together
    site = locked(site)
    email = normalise_email(email)
    if Access.objects.filter(site=site, user__email=email, user__deleted_at=None).exists():
        raise AlreadyMember
    Invitation.objects.filter(site=site, email=email, used_at=None).update(used_at=now)
    _check_places(site, now=now)
    sent = Invitation.objects.filter(author_id=actor.id)
    if sent.filter(created_at__gt=now - timedelta(days=1)).count() >= INVITATIONS_A_DAY:
        raise TooManyInvitations
    if sent.filter(email=email, created_at__gt=now - timedelta(hours=1)).count() >= AN_HOUR:
        raise InvitedOften
    made = Invitation.objects.create(
        site=site, email=email, role=role, author_id=actor.id, created_at=now, expires_at=now + LIFETIME
    )
    record("invitation.sent", actor=actor, subject=made, role=role)
    link = f"{settings.FRONT_END_URL}/invitation#{token_of(made)}"
    inviter = User.objects.filter(pk__in=[actor.id]).values_list("email", flat=True).first()
    facts: dict[str, Any] = {
        "site": mail_name(site),
        "role": role,
        "inviter": inviter or settings.APP_HOST,
        "link": link,
    }
    mail.enqueue_mail(email, "invitation", until=made.expires_at, **facts)
    return made


def _check_places(site: Site, *, now: datetime) -> None:
    open_ones = Invitation.objects.filter(site=site, used_at=None, expires_at__gt=now).count()
    if Access.objects.filter(site=site).count() + open_ones >= MAX_MEMBERS:
        raise TooManyMembers


@transaction.atomic
def withdraw_invitation(invitation: Invitation, *, actor: Actor, now: datetime) -> None:
    """The link in the mail does not work any more. Raises InvitationRefused when it was used."""
    if not Invitation.objects.filter(pk=invitation.pk, used_at=None).update(used_at=now):
        raise InvitationRefused
    record("invitation.withdrawn", actor=actor, subject=invitation)


def token_of(invitation: Invitation) -> str:
    return encryption.make_token(SIGNATURE, invitation.pk)


def find_invitation(token: str, *, now: datetime) -> Invitation:
    """What a mailed link invites to. In context `system`. Raises InvitationRefused."""
    if (pk := encryption.verify_token(SIGNATURE, token)) is None:
        raise InvitationRefused
    open_ones = Invitation.objects.select_related("site", "author").filter(used_at=None, expires_at__gt=now)
    found = open_ones.filter(pk=pk, site__deleted_at=None).first()
    if found is None:
        raise InvitationRefused
    return found


@transaction.atomic
def accept_invitation(token: str, *, actor: Actor, now: datetime) -> tuple[Site, str]:
    """Give whoever is signed in the role; the site and the role. In context `system`.

    Raises InvitationRefused, InvitationForOther when it was sent to another address, AlreadyMember.
    """
    assert actor.id is not None
    person = _held(actor.id)
    found = find_invitation(token, now=now)
    if person.email != found.email:
        raise InvitationForOther
    site = locked(found.site)
    if not Invitation.objects.filter(pk=found.pk, used_at=None).update(used_at=now):
        raise InvitationRefused
    if Access.objects.filter(site=site, user=person).exists():
        raise AlreadyMember
    Access.objects.create(site=site, user=person, role=found.role)
    record(
        "member.joined",
        actor=actor,
        subject=site,
        member=person.pk,
        role=found.role,
        invited_by=found.author_id,
    )
    changed(site)
    return site, found.role


def _held(pk: UUID) -> User:
    """The row of an open account, held. Raises NotFound."""
    person = (
        User.objects.alive()
        .select_for_update(no_key=True, of=("self",))
        .filter(pk=pk, is_active=True)
        .first()
    )
    if person is None:
        raise NotFound
    return person


@transaction.atomic
def change_role(site: Site, member: UUID, role: str, *, actor: Actor) -> None:
    """Give a member another role. Raises NotFound, OwnerStays."""
    access = _access(site, member)
    site = locked(site)
    before = access.role
    access.role = role
    access.save(update_fields=["role"])
    record("member.changed", actor=actor, subject=site, member=member, changes={"role": [before, role]})
    if role != Access.Role.EDITOR:
        _end_what_they_started(site, member, actor=actor, keep_previews=role == Access.Role.AUTHOR)
    changed(site)


def remove_member(site: Site, member: UUID, *, actor: Actor) -> None:
    """A member goes, or leaves.

    Preview links and planned changes of theirs go too. Raises NotFound, OwnerStays.
    """
    with tenancy.context(tenancy.SYSTEM):  # viewers may leave, and write nothing else
        access = _access(site, member)
        site = locked(site)
        changed(site)  # while they are still among those whose lists are stale
        record("member.removed", actor=actor, subject=site, member=member, role=access.role)
        _end_what_they_started(site, member, actor=actor, keep_previews=False)
        access.delete()


def _access(site: Site, member: UUID) -> Access:
    access = Access.objects.select_for_update().filter(site=site, user_id=member).first()
    if access is None:
        raise NotFound
    if access.role == Access.Role.OWNER:
        raise OwnerStays
    return access


def _end_what_they_started(site: Site, member: UUID, *, actor: Actor, keep_previews: bool) -> None:
    """Links and plans of somebody who may not make them any more must not outlive their rights."""
    _end(
        Schedule.objects.filter(state__in=Schedule.OPEN, site=site, author_id=member),
        "site.schedule_cancelled",
        actor,
    )
    if not keep_previews:
        _end(Preview.objects.filter(site=site, author_id=member), "preview.revoked", actor)


def _end(rows: Any, event: str, actor: Actor) -> None:
    for row in rows:
        record(event, actor=actor, subject=row, because="rights")
        row.delete()


def end_work_of(person: UUID, moment: datetime) -> None:
    """The part of members in hiding a person: what they started on the sites of others ends, and their name
    leaves the pages.
    """
    with tenancy.context(tenancy.SYSTEM):
        plans = Schedule.objects.filter(state__in=Schedule.OPEN, author_id=person).exclude(
            site__owner_id=person
        )
        _end(plans, "site.schedule_cancelled", SYSTEM)
        _end(Preview.objects.filter(author_id=person), "preview.revoked", SYSTEM)
        for site in (
            Site.objects.alive().filter(posts__in=Post.objects.shown().filter(author_id=person)).distinct()
        ):
            show_posts(locked(site))


@transaction.atomic
def transfer_site(site: Site, member: UUID, *, actor: Actor) -> Site:
    """Make a member the owner; the owner becomes an editor.

    Both get a mail. Raises NotMember, TooManySites, NotFound.
    """
    before = site.owner_id
    both = (
        Access.objects.select_for_update().filter(site=site, user_id__in=[before, member]).order_by("user_id")
    )
    roles = {access.user_id: access for access in both}
    if member == before or member not in roles:
        raise NotMember
    people = {pk: _held(pk) for pk in sorted(roles, key=str)}
    site = locked(site)
    if site.owner_id != before:
        raise NotFound
    check_room(member)
    for pk, role in (
        (before, Access.Role.EDITOR),
        (member, Access.Role.OWNER),
    ):  # first down: there is one owner
        roles[pk].role = role
        roles[pk].save(update_fields=["role"])
    site.owner_id = member
    site.version = site.version + 1
    site.save(update_fields=["owner", "version", "updated_at"])
    record("site.transferred", actor=actor, subject=site, changes={"owner": [str(before), str(member)]})
    for pk, template in ((before, "site_handed_over"), (member, "site_received")):
        mail.enqueue_mail(
            people[pk].email,
            template,
            person=pk,
            site=mail_name(site),
            other=people[{before: member, member: before}[pk]].email,
        )
    changed(site)
    return site


def delete_expired_invitations(*, before: datetime) -> int:
    """Delete invitations that ended before then, and the addresses with them; return how many.

    In context `system`.
    """
    return Invitation.objects.filter(expires_at__lt=before).delete()[0]


def mail_name(site: Site) -> str:
    """What a mail of ours calls a site: its name, unless a mail program could take it for a link."""
    return site.name if PLAIN.fullmatch(site.name) else host_of(site.subdomain)
