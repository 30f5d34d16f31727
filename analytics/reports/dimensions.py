"""What is counted, and what it can be cut by."""

from dataclasses import dataclass

from analytics.models import Term

Sort = Term.Sort
METRICS = ("visitors", "visits", "pageviews", "events", "bounces", "seconds", "engaged", "views")


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a report can be broken down by. `column` is of `seen`: an event's own, or one of its visit."""

    number: int
    column: str
    sort: int


DIMENSIONS = {
    "page": Dimension(1, "page", Sort.PAGE),
    "entry_page": Dimension(2, "entry", Sort.PAGE),
    "exit_page": Dimension(3, "leave", Sort.PAGE),
    "referrer": Dimension(4, "referrer", Sort.REFERRER),
    "source": Dimension(5, "source", Sort.SOURCE),
    "utm_source": Dimension(6, "utm_source", Sort.UTM_SOURCE),
    "utm_medium": Dimension(7, "utm_medium", Sort.UTM_MEDIUM),
    "utm_campaign": Dimension(8, "utm_campaign", Sort.UTM_CAMPAIGN),
    "utm_content": Dimension(9, "utm_content", Sort.UTM_CONTENT),
    "utm_term": Dimension(10, "utm_term", Sort.UTM_TERM),
    "country": Dimension(11, "country", Sort.COUNTRY),
    "region": Dimension(12, "region", Sort.REGION),
    "browser": Dimension(13, "browser", Sort.BROWSER),
    "os": Dimension(14, "os", Sort.OS),
    "device": Dimension(15, "device", Sort.DEVICE),
    "language": Dimension(16, "language", Sort.LANGUAGE),
    "event": Dimension(17, "name", Sort.EVENT),
}

OF_SOME = {
    "event",
    "entry_page",
    "exit_page",
    "property",
}  # what not every event has: those without are not "unknown"

# What a visit began with belongs to all of its events.
OF_VISITS = ("source", "referrer", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
