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
