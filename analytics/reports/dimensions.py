"""The metrics of reports, and the dimensions by which a report can be broken down."""

from dataclasses import dataclass

from analytics.models import Term

Sort = Term.Sort
# The sums that roll-ups store, in the order in which all queries return them; see `models.Counted`.
METRICS = ("visitors", "visits", "pageviews", "events", "bounces", "seconds", "engaged", "views")


@dataclass(frozen=True, slots=True)
class Dimension:
    """A property of events or visits by which a report can be broken down.

    `number` identifies it in stored roll-ups, `column` is a column of `visited_events` in `sql_fragments`,
    and `sort` is the `Term.Sort` of its values.
    """

    number: int
    column: str
    sort: int


DIMENSIONS = {
    "page": Dimension(1, "page", Sort.PAGE),
    "entry_page": Dimension(2, "entry_page", Sort.PAGE),
    "exit_page": Dimension(3, "exit_page", Sort.PAGE),
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

# Dimensions that not every event has. Events without one are left out instead of counted as "unknown".
OPTIONAL_DIMENSIONS = {"event", "entry_page", "exit_page", "property"}

# Columns that describe how a visit began. The values of its first event hold for all events of the visit.
TRAFFIC_SOURCE_COLUMNS = (
    "source",
    "referrer",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
)
