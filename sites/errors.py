"""The ways sites say no."""

from core.errors import DomainError


class SiteEmpty(DomainError):
    code, status, message = "site_empty", 409, "Add at least one page before publishing."


class SiteArchived(DomainError):
    code, status, message = "site_archived", 409, "This site is archived. Bring it back before publishing."


class SubdomainTaken(DomainError):
    code, status, message = "subdomain_taken", 409, "This subdomain is taken. Choose another one."


class NotPublished(DomainError):
    code, status, message = "not_published", 409, "This site is not published."


class NotDeleted(DomainError):
    code, status, message = "not_deleted", 409, "This site is not deleted."


class TooManySites(DomainError):
    code, status, message = "too_many_sites", 409, "You have as many sites as one account may have."


class RoleTooLow(DomainError):
    code, status, message = "site_role_too_low", 403, "Your role on this site does not allow this."


class ReleaseLive(DomainError):
    code, status, message = "release_live", 409, "Visitors see this release already."


class TimePassed(DomainError):
    code, status, message = "time_passed", 409, "Choose a time that lies ahead, within two years."


class TooManySchedules(DomainError):
    code, status, message = "too_many_schedules", 409, "This site has as many planned changes as it may have."


class ScheduleDone(DomainError):
    code, status, message = "schedule_done", 409, "This has happened already."


class Overtaken(DomainError):
    code, status, message = "overtaken", 409, "Something newer was published since the planned time."


class AuthorGone(DomainError):
    code, status, message = "author_gone", 409, "Whoever planned this has no open account any more."


class ReviewOpen(DomainError):
    code, status, message = "review_open", 409, "A review of this site is open. Wait for it, or withdraw it."


class ReviewAnswered(DomainError):
    code, status, message = "review_answered", 409, "This review is not open any more."


class TooManyPreviews(DomainError):
    code, status, message = "too_many_previews", 409, "This site has as many preview links as it may have. Remove one."


class TooManyMembers(DomainError):
    code, status, message = "too_many_members", 409, "This site has as many members and invitations as it may have."


class TooManyInvitations(DomainError):
    code, status, message = "too_many_invitations", 429, "You have sent many invitations today. Go on tomorrow."


class InvitedOften(DomainError):
    code, status, message = "invited_often", 429, "You have invited this address several times. Wait an hour."


class AlreadyMember(DomainError):
    code, status, message = "already_member", 409, "This person is a member of the site already."


class OwnerStays(DomainError):
    code, status, message = "owner_stays", 409, "A site always has an owner. Hand it over to another member first."


class NotMember(DomainError):
    code, status, message = "not_member", 409, "Only an active member of the site can own it."


class InvitationRefused(DomainError):
    code, status, message = "invitation_refused", 404, "This invitation does not exist, was used or has expired."


class InvitationForOther(DomainError):
    code, status, message = "invitation_for_other", 403, "This invitation was sent to another address than yours."


class SlugTaken(DomainError):
    code, status, message = "slug_taken", 409, "Another post of this site has this slug, perhaps a deleted one."


class TooManyPosts(DomainError):
    code, status, message = "too_many_posts", 409, "This site has as many posts as it may have."
