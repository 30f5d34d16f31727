"""Errors that services and views of sites raise. Each `code` is part of the HTTP API."""

from core.errors import DomainError


class SiteEmpty(DomainError):
    code = "site_empty"
    status = 409
    message = "Add at least one page before publishing."


class SiteArchived(DomainError):
    code = "site_archived"
    status = 409
    message = "This site is archived. Restore it before publishing."


class SubdomainTaken(DomainError):
    code = "subdomain_taken"
    status = 409
    message = "This subdomain is taken. Choose another one."


class NotPublished(DomainError):
    code = "not_published"
    status = 409
    message = "This site is not published."


class NotDeleted(DomainError):
    code = "not_deleted"
    status = 409
    message = "This site is not deleted."


class TooManySites(DomainError):
    code = "too_many_sites"
    status = 409
    message = "You have reached the maximum number of sites for one account."


class RoleTooLow(DomainError):
    code = "site_role_too_low"
    status = 403
    message = "Your role on this site does not allow this."


class ReleaseLive(DomainError):
    code = "release_live"
    status = 409
    message = "This release is already live."


class TimePassed(DomainError):
    code = "time_passed"
    status = 409
    message = "Choose a time in the future, within two years."


class TooManySchedules(DomainError):
    code = "too_many_schedules"
    status = 409
    message = "This site has reached the maximum number of scheduled changes."


class ScheduleDone(DomainError):
    code = "schedule_done"
    status = 409
    message = "This scheduled change was carried out already."


class Overtaken(DomainError):
    code = "overtaken"
    status = 409
    message = "A newer release was published after the scheduled time."


class AuthorGone(DomainError):
    code = "author_gone"
    status = 409
    message = "The account of the person who scheduled this is closed or disabled."


class ReviewOpen(DomainError):
    code = "review_open"
    status = 409
    message = "A review of this site is open. Wait until it is answered, or withdraw it."


class ReviewAnswered(DomainError):
    code = "review_answered"
    status = 409
    message = "This review is not open any more."


class TooManyPreviews(DomainError):
    code = "too_many_previews"
    status = 409
    message = "This site has reached the maximum number of preview links. Remove one."


class TooManyMembers(DomainError):
    code = "too_many_members"
    status = 409
    message = "This site has reached the maximum number of members and invitations."


class TooManyInvitations(DomainError):
    code = "too_many_invitations"
    status = 429
    message = "You have sent too many invitations today. Try again tomorrow."


class InvitedOften(DomainError):
    code = "invited_often"
    status = 429
    message = "You have sent too many invitations to this address. Try again in an hour."


class AlreadyMember(DomainError):
    code = "already_member"
    status = 409
    message = "This person is a member of the site already."


class OwnerStays(DomainError):
    code = "owner_stays"
    status = 409
    message = "A site always has an owner. Transfer it to another member first."


class NotMember(DomainError):
    code = "not_member"
    status = 409
    message = "Only an active member of the site can own it."


class InvitationRefused(DomainError):
    code = "invitation_refused"
    status = 404
    message = "This invitation does not exist, was used or has expired."


class InvitationForOther(DomainError):
    code = "invitation_for_other"
    status = 403
    message = "This invitation was sent to a different address than yours."


class SlugTaken(DomainError):
    code = "slug_taken"
    status = 409
    message = "Another post of this site has this slug, perhaps a deleted one."


class TooManyPosts(DomainError):
    code = "too_many_posts"
    status = 409
    message = "This site has reached the maximum number of posts."
