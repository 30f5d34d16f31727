"""Members of a site: invite, change a role, remove, and transfer the ownership.

To prevent deadlocks every function locks in this order: access rows (`lock_role` first, then those of other
members), users by id, the site.
"""

import re
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

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
from sites.services import quotas, reservations
from sites.services.posts import bump_posts_version
from sites.services.sites import check_site_limit, invalidate_site_responses, lock_site
from sites.subdomains import host_of

MAX_MEMBERS = 100  # members and open invitations of one site together
INVITATION_LIMIT_PER_DAY = 50  # sent by one user
INVITATION_LIMIT_PER_ADDRESS_PER_HOUR = 5  # sent by one user to one address
INVITATION_LIFETIME = timedelta(days=7)
SIGNING_PURPOSE = "site invitation"
SELECT_ROLE_SQL = "SELECT role FROM sites_access WHERE site_id = %s AND user_id = %s"
# A site name that is safe in a mail: one line, and no dot inside a word, because mail programs turn `a.com`
# into a link.
PLAIN_SITE_NAME = re.compile(r"(?:[\w &'’,!?()+–-]|\.(?= |$))+")


def lock_role(site_id: UUID, user_id: UUID, *, exclusive: bool) -> str:
    """Return a user's role on a site and lock it until the transaction ends.

    Concurrent changes of this role wait. With `exclusive` the row is locked FOR UPDATE instead of FOR SHARE:
    callers that change roles need this, because two of them with a shared lock would deadlock.

    Raises NotFound when the user has no role on the site.
    """
    lock_strength = "UPDATE" if exclusive else "SHARE"
    with connection.cursor() as cursor:
        cursor.execute(f"{SELECT_ROLE_SQL} FOR {lock_strength}", [site_id, user_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound
    return str(row[0])


@transaction.atomic
def invite_member(site: Site, *, email: str, role: str, actor: Actor, now: datetime) -> Invitation:
    """Mail a link with which the account of this address joins the site. Earlier links to it stop working.

    Raises AlreadyMember, TooManyMembers, TooManyInvitations, InvitedOften.
    """
    if actor.id is not None:
        # The limits count over all sites of the sender, so the sender is locked and not only this site.
        _lock_active_user(actor.id)
    site = lock_site(site)
    email = normalise_email(email)
    if Access.objects.filter(site=site, user__email=email, user__deleted_at=None).exists():
        raise AlreadyMember
    Invitation.objects.filter(site=site, email=email, used_at=None).update(used_at=now)
    _check_member_limit(site, now=now)
    _check_invitation_limits(email, actor=actor, now=now)
    invitation = Invitation.objects.create(
        site=site,
        email=email,
        role=role,
        author_id=actor.id,
        created_at=now,
        expires_at=now + INVITATION_LIFETIME,
    )
    record("invitation.sent", actor=actor, subject=invitation, role=role)
    inviter = User.objects.filter(pk__in=[actor.id]).values_list("email", flat=True).first()
    mail.enqueue_mail(
        email,
        "invitation",
        until=invitation.expires_at,
        site=site_name_for_mail(site),
        role=role,
        inviter=inviter or settings.APP_HOST,
        link=f"{settings.FRONT_END_URL}/invitation#{invitation_token(invitation)}",
    )
    return invitation


def _check_member_limit(site: Site, *, now: datetime) -> None:
    """Raises TooManyMembers when the site has no room for another member."""
    open_invitations = Invitation.objects.filter(site=site, used_at=None, expires_at__gt=now).count()
    if Access.objects.filter(site=site).count() + open_invitations >= MAX_MEMBERS:
        raise TooManyMembers


def _check_invitation_limits(email: str, *, actor: Actor, now: datetime) -> None:
    """Raises TooManyInvitations, InvitedOften when the actor has reached a limit of sent invitations."""
    sent = Invitation.objects.filter(author_id=actor.id)
    sent_last_day = sent.filter(created_at__gt=now - timedelta(days=1))
    if sent_last_day.count() >= INVITATION_LIMIT_PER_DAY:
        raise TooManyInvitations
    sent_to_address = sent.filter(email=email, created_at__gt=now - timedelta(hours=1))
    if sent_to_address.count() >= INVITATION_LIMIT_PER_ADDRESS_PER_HOUR:
        raise InvitedOften


@transaction.atomic
def withdraw_invitation(invitation: Invitation, *, actor: Actor, now: datetime) -> None:
    """Make the mailed link stop working. Raises InvitationRefused when it was used already."""
    if not Invitation.objects.filter(pk=invitation.pk, used_at=None).update(used_at=now):
        raise InvitationRefused
    record("invitation.withdrawn", actor=actor, subject=invitation)


def invitation_token(invitation: Invitation) -> str:
    """Return the token of the mailed link. It is computed from the id and SECRET_KEY, and never stored."""
    return encryption.make_token(SIGNING_PURPOSE, invitation.pk)


def find_invitation_by_token(token: str, *, now: datetime) -> Invitation:
    """Return the open invitation of a mailed link. Runs in the tenancy context `system`.

    Raises InvitationRefused when the token is forged, used, withdrawn or expired, or the site is deleted.
    """
    if (pk := encryption.verify_token(SIGNING_PURPOSE, token)) is None:
        raise InvitationRefused
    open_invitations = Invitation.objects.select_related("site", "author").filter(
        used_at=None, expires_at__gt=now
    )
    invitation = open_invitations.filter(pk=pk, site__deleted_at=None).first()
    if invitation is None:
        raise InvitationRefused
    return invitation


@transaction.atomic
def accept_invitation(token: str, *, actor: Actor, now: datetime) -> tuple[Site, str]:
    """Give the signed-in user the role of an invitation. Returns the site and the role.

    Runs in the tenancy context `system`.

    Raises InvitationRefused, AlreadyMember, NotFound when the account is closed, and InvitationForOther when
    the invitation was sent to another address.
    """
    assert actor.id is not None
    user = _lock_active_user(actor.id)
    invitation = find_invitation_by_token(token, now=now)
    if user.email != invitation.email:
        raise InvitationForOther
    site = lock_site(invitation.site)
    if not Invitation.objects.filter(pk=invitation.pk, used_at=None).update(used_at=now):
        raise InvitationRefused
    if Access.objects.filter(site=site, user=user).exists():
        raise AlreadyMember
    Access.objects.create(site=site, user=user, role=invitation.role)
    record(
        "member.joined",
        actor=actor,
        subject=site,
        member=user.pk,
        role=invitation.role,
        invited_by=invitation.author_id,
    )
    invalidate_site_responses(site)
    return site, invitation.role


def _lock_active_user(user_id: UUID) -> User:
    """Return the user, locked until the transaction ends. Raises NotFound unless the account is active."""
    user = (
        User.objects.alive()
        .select_for_update(no_key=True, of=("self",))
        .filter(pk=user_id, is_active=True)
        .first()
    )
    if user is None:
        raise NotFound
    return user


@transaction.atomic
def change_role(site: Site, member: UUID, role: str, *, actor: Actor) -> None:
    """Give a member another role. Raises NotFound, OwnerStays."""
    access = _lock_access(site, member)
    site = lock_site(site)
    old_role = access.role
    access.set_role(role)
    record("member.changed", actor=actor, subject=site, member=member, changes={"role": [old_role, role]})
    if role != Access.Role.EDITOR:
        _delete_pending_work(site, member, actor=actor, keep_previews=role == Access.Role.AUTHOR)
    invalidate_site_responses(site)


def remove_member(site: Site, member: UUID, *, actor: Actor) -> None:
    """Remove a member from the site, with their preview links and open schedules.

    Raises NotFound, OwnerStays.
    """
    # A viewer may leave the site, but row-level security lets viewers write nothing.
    with tenancy.context(tenancy.SYSTEM):
        access = _lock_access(site, member)
        site = lock_site(site)
        invalidate_site_responses(site)  # before the deletion, so that it includes the leaving member
        record("member.removed", actor=actor, subject=site, member=member, role=access.role)
        _delete_pending_work(site, member, actor=actor, keep_previews=False)
        access.delete()


def _lock_access(site: Site, member: UUID) -> Access:
    """Return the access row of a member, locked. Raises NotFound, and OwnerStays for the owner."""
    access = Access.objects.select_for_update().filter(site=site, user_id=member).first()
    if access is None:
        raise NotFound
    if access.role == Access.Role.OWNER:
        raise OwnerStays
    return access


def _delete_pending_work(site: Site, member: UUID, *, actor: Actor, keep_previews: bool) -> None:
    """Delete the open schedules and preview links of a member who lost the right to create them."""
    _delete_and_record(
        Schedule.objects.filter(status__in=Schedule.OPEN, site=site, author_id=member),
        "site.schedule_cancelled",
        actor,
    )
    if not keep_previews:
        _delete_and_record(Preview.objects.filter(site=site, author_id=member), "preview.revoked", actor)


def _delete_and_record(rows: QuerySet[Schedule] | QuerySet[Preview], event: str, actor: Actor) -> None:
    for row in rows:
        record(event, actor=actor, subject=row, because="rights")
        row.delete()


def cancel_pending_work_of(user_id: UUID, deleted_at: datetime) -> None:
    """Handler for the soft deletion of a user.

    Deletes their preview links and their open schedules on other people's sites, and makes every site with
    posts of theirs render again, without their name.
    """
    with tenancy.context(tenancy.SYSTEM):
        schedules = Schedule.objects.filter(status__in=Schedule.OPEN, author_id=user_id).exclude(
            site__owner_id=user_id
        )
        _delete_and_record(schedules, "site.schedule_cancelled", SYSTEM)
        _delete_and_record(Preview.objects.filter(author_id=user_id), "preview.revoked", SYSTEM)
        published_posts = Post.objects.published().filter(author_id=user_id)
        for site in Site.objects.alive().filter(posts__in=published_posts).distinct():
            bump_posts_version(lock_site(site))


@transaction.atomic
def transfer_site(site: Site, member: UUID, *, actor: Actor) -> Site:
    """Make a member the owner. The previous owner becomes an editor, and both receive a mail.

    Raises NotMember, TooManySites, NotFound, and QuotaExceeded when the new owner has no room for the site.
    """
    old_owner = site.owner_id
    access_rows = Access.objects.select_for_update().filter(site=site, user_id__in=[old_owner, member])
    access_by_user = {access.user_id: access for access in access_rows.order_by("user_id")}
    if member == old_owner or member not in access_by_user:
        raise NotMember
    users = {pk: _lock_active_user(pk) for pk in sorted(access_by_user, key=str)}
    site = lock_site(site)
    if site.owner_id != old_owner:
        raise NotFound
    check_site_limit(member)
    # The old owner first: a unique constraint allows one owner for each site at any time.
    for user_id, role in ((old_owner, Access.Role.EDITOR), (member, Access.Role.OWNER)):
        access_by_user[user_id].set_role(role)
    site.owner_id = member
    site.version = site.version + 1
    site.save(update_fields=["owner", "version", "updated_at"])
    quotas.require_room_for_site(site)
    reservations.transfer_reservations(site)
    owner_change = [str(old_owner), str(member)]
    record("site.transferred", actor=actor, subject=site, changes={"owner": owner_change})
    _mail_transfer(site, users[old_owner], "site_handed_over", other=users[member])
    _mail_transfer(site, users[member], "site_received", other=users[old_owner])
    invalidate_site_responses(site)
    return site


def _mail_transfer(site: Site, recipient: User, template: str, *, other: User) -> None:
    mail.enqueue_mail(
        recipient.email, template, person=recipient.pk, site=site_name_for_mail(site), other=other.email
    )


def delete_expired_invitations(*, before: datetime) -> int:
    """Delete invitations that expired before `before`, with their addresses. Returns how many.

    Runs in the tenancy context `system`.
    """
    return Invitation.objects.filter(expires_at__lt=before).delete()[0]


def site_name_for_mail(site: Site) -> str:
    """Return the name of a site for use in a mail.

    This is the host name instead when a mail program could turn the name into a link, because the name is
    chosen by a user and the mail comes from us.
    """
    return site.name if PLAIN_SITE_NAME.fullmatch(site.name) else host_of(site.subdomain)
