"""Models of analytics. No row has an IP address or a user agent, so visitors cannot be identified.

The tables `analytics_event` (partitioned by month), `analytics_dirty` and `analytics_salt` have no model; SQL
migrations create them. Events are written by `ingest.writer` and read by `reports.event_sql`.
"""

from django.conf import settings
from django.db import connection, models
from django.db.models.functions import Now
from django.utils import timezone

from analytics.time_zones import valid_zone
from audit.subjects import Subject
from core.ids import uuid7
from sites.models import Site


class Kind(models.IntegerChoices):
    """The kind of an event.

    An engagement reports the viewing time of a page. It begins no visit and is not counted as an event.
    """

    PAGEVIEW = 0
    CUSTOM = 1
    ENGAGEMENT = 2
    OUTBOUND = 3
    DOWNLOAD = 4


class Settings(models.Model):
    """The analytics settings of a site. A site without a row has the defaults."""

    class Signals(models.TextChoices):
        """What happens to events of a browser that sends the headers Sec-GPC or DNT."""

        COUNT = "count", "Count the page view and the country, no visitor and no visit"
        IGNORE = "ignore", "Count it as any other"
        DROP = "drop", "Count nothing"

    site = models.OneToOneField(
        Site, primary_key=True, on_delete=models.CASCADE, related_name="analytics_settings"
    )
    enabled = models.BooleanField(default=True)
    timezone = models.CharField(max_length=64, default="UTC", validators=[valid_zone])
    signals = models.CharField(max_length=10, choices=Signals, default=Signals.COUNT)
    keep_days = models.PositiveIntegerField(
        null=True, help_text="Days that events are kept, 10 or more; the installation's when empty."
    )

    def __str__(self) -> str:
        return f"analytics of {self.site_id}"


class Definition(models.Model):
    """A goal, a segment or a funnel that the people of a site saved under a name.

    `conditions` are filters as reports take them. A goal and a segment require all of them; those of a funnel
    are its steps, in order.
    """

    class Kind(models.TextChoices):
        GOAL = "goal"
        SEGMENT = "segment"
        FUNNEL = "funnel"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=80)
    conditions = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("site", "kind", "name", name="definition_once")]

    def __str__(self) -> str:
        return self.name

    def as_subject(self) -> Subject:
        return Subject(self.kind, self.pk, self.name, site_id=self.site_id)


class Annotation(models.Model):
    """A note about a day, shown beside its numbers. Publishes need none: reports list releases, too."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    text = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("site", "day", name="annotation_day")]

    def __str__(self) -> str:
        return self.text

    def as_subject(self) -> Subject:
        return Subject("annotation", self.pk, site_id=self.site_id)


class Share(models.Model):
    """A link to the dashboard of a site, for people without an account.

    The token of the link is a signature that is not stored, so this row alone gives no access.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    conditions = models.JSONField(default=list, help_text="Filters that hold whatever is looked at.")
    password = models.CharField(max_length=200, blank=True, default="", help_text="A hash; empty for none.")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    def as_subject(self) -> Subject:
        return Subject("share", self.pk, self.name, site_id=self.site_id)


class Subscription(models.Model):
    """A user's subscription to the weekly mail about a site. `last` is the Monday of the last mail."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    last = models.DateField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint("user", "site", name="subscription_once")]

    def __str__(self) -> str:
        return f"weekly mail to {self.user_id}"

    def as_subject(self) -> Subject:
        return Subject("subscription", self.pk, site_id=self.site_id)


class Term(models.Model):
    """A text that events reference by id: a path, a source, a browser.

    `sort` is the kind of text. A site gets at most 20,000 new terms of each sort a day.
    """

    class Sort(models.IntegerChoices):
        PAGE = 1
        EVENT = 2
        REFERRER = 3
        SOURCE = 4
        UTM_SOURCE = 5
        UTM_MEDIUM = 6
        UTM_CAMPAIGN = 7
        UTM_CONTENT = 8
        UTM_TERM = 9
        COUNTRY = 10
        REGION = 11
        BROWSER = 12
        OS = 13
        DEVICE = 14
        LANGUAGE = 15

    id = models.AutoField(primary_key=True)
    site_number = models.IntegerField()
    sort = models.PositiveSmallIntegerField(choices=Sort)
    text = models.CharField(max_length=500)
    since = models.DateField(default=timezone.localdate)

    class Meta:
        constraints = [models.UniqueConstraint("site_number", "sort", "text", name="analytics_term_once")]
        indexes = [models.Index("site_number", "sort", "since", name="analytics_term_day")]

    def __str__(self) -> str:
        return self.text


class Cursor(models.Model):
    """The position up to which a stream is written, saved in the transaction that writes the entries."""

    shard = models.PositiveSmallIntegerField(primary_key=True)
    last_id = models.CharField(max_length=40, default="0-0")
    epoch = models.CharField(max_length=40, default="", help_text="Which life of Redis `last_id` is of.")
    written = models.BigIntegerField(default=0)


EventKey = tuple[int, int]  # site number and event id


class DirectEventQuerySet(models.QuerySet["DirectEvent"]):
    def find(self, keys: set[EventKey]) -> set[EventKey]:
        """Return those of the keys that are stored. One query, two when the table has rows."""
        if not keys or not self.exists():
            return set()
        columns = [list(column) for column in zip(*keys, strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT site_number, event_id "
                "FROM unnest(%s::int[], %s::bigint[]) AS keys(site_number, event_id) "
                "JOIN analytics_directevent USING (site_number, event_id)",
                columns,
            )
            return set(cursor.fetchall())


class DirectEvent(models.Model):
    """An event that was written without its stream while Redis was unavailable.

    The writer of the stream skips it.
    """

    pk = models.CompositePrimaryKey("site_number", "event_id")
    site_number = models.IntegerField()
    event_id = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    objects = DirectEventQuerySet.as_manager()


class Counted(models.Model):
    """The sums that roll-ups store.

    `visits` are distinct sessions, `bounces` those with one page view and no other event, `seconds` the time
    from the first to the last event of the visits, `engaged` the viewing time of pages in milliseconds.
    """

    visitors = models.IntegerField(default=0)
    visits = models.IntegerField(default=0)
    pageviews = models.IntegerField(default=0)
    events = models.IntegerField(default=0)
    bounces = models.IntegerField(default=0)
    seconds = models.BigIntegerField(default=0)
    engaged = models.BigIntegerField(default=0)
    views = models.IntegerField(default=0, help_text="Page views that belong to a visit.")

    class Meta:
        abstract = True


class Hour(Counted):
    """The sums of one hour of a site; `hour` is its first instant."""

    pk = models.CompositePrimaryKey("site_number", "hour")
    site_number = models.IntegerField()
    hour = models.DateTimeField()


class Day(Counted):
    """The sums of a local day of a site: of the whole day (`dimension` 0), or of one term of a dimension.

    `term` 0 stands for all terms beyond the 1,000 largest, and for the whole day; -1 for an unknown value.
    """

    pk = models.CompositePrimaryKey("site_number", "day", "dimension", "term")
    site_number = models.IntegerField()
    day = models.DateField()
    dimension = models.PositiveSmallIntegerField()
    term = models.IntegerField()


class Drop(models.Model):
    """How many events of an hour were not counted, by reason, so that the owner can see what is missing."""

    pk = models.CompositePrimaryKey("site_number", "hour", "reason")
    site_number = models.IntegerField()
    hour = models.DateTimeField()
    reason = models.CharField(max_length=20)
    count = models.BigIntegerField()


class Board(Site):
    """Proxy model for the dashboards in the admin."""

    class Meta:
        proxy = True
        verbose_name = "site analytics"
        verbose_name_plural = "site analytics"
