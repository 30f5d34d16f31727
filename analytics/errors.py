"""Refusals of the analytics app."""

from core.errors import DomainError, Unavailable


class NameTaken(DomainError):
    """Another goal, segment or funnel of the site has this name."""

    code = "name_taken"
    status = 409
    message = "This name is already used. Choose another one."


class TooManySaved(DomainError):
    """The site has as many goals, segments, funnels, links or annotations as it may have."""

    code = "too_many_saved"
    status = 409
    message = "This site has reached the maximum number of these objects. Delete one first."


class ReportTooSlow(Unavailable):
    """The statements of a report took longer together than one report may."""

    code = "report_too_slow"
    message = "This report takes too long. Choose fewer days or fewer filters."
