"""What is kept of visits. No row has an address or a user agent; nobody can say who came.

`Event` is partitioned by time and made by SQL migrations, as are the tables that many processes write at
once. Only `analytics.reports.sql_store` reads and writes events.
"""

from django.conf import settings
from django.db import models
from django.utils import timezone

from analytics.reports.time_zones import valid_zone
from audit.subjects import Subject
from core.ids import uuid7
from sites.models import Site


class Kind(models.IntegerChoices):
    """What an event is.

    An engagement says how long a page was looked at; it makes no visit and no count of its own.
    """

    PAGEVIEW = 0
    CUSTOM = 1
    ENGAGEMENT = 2
    OUTBOUND = 3
    DOWNLOAD = 4


class Settings(models.Model):
    """What a site's owner chose. A site without a row has the defaults."""

    class Signals(models.TextChoices):
        """What happens to a visit whose browser asks not to be tracked (Sec-GPC, DNT)."""

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
    """What a site's people saved under a name: a goal, a segment, or the steps of a funnel.

    `conditions` are filters as reports take them; those of a goal and of a segment all hold, those of a
    funnel follow each other.
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
    """What happened on a day, beside its numbers. Publishes need none: they show themselves."""

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
    """A link to a site's numbers for whoever has it.

    The token in it is computed, never stored: this row alone opens nothing.
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
    """Somebody gets a mail about a site on Mondays. `last` is the Monday of the last one."""

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
    """A text that events name by number: a path, a source, a browser.

    At most 20,000 new ones a site, sort and day.
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
    """How far a writer has read its stream. It moves in the transaction that writes what was read."""

    shard = models.PositiveSmallIntegerField(primary_key=True)
    last_id = models.CharField(max_length=40, default="0-0")
    epoch = models.CharField(max_length=40, default="", help_text="Which life of Redis `last_id` is of.")
    written = models.BigIntegerField(default=0)


class Counted(models.Model):
    """Sums of one slice.

    `visits` are distinct sessions, `bounces` those with one page view and nothing else, `seconds` from their
    first sign of life to the last, `engaged` milliseconds that pages were looked at.
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
    """A site's hour; `hour` is its first instant in the site's time zone."""

    pk = models.CompositePrimaryKey("site_number", "hour")
    site_number = models.IntegerField()
    hour = models.DateTimeField()


class Day(Counted):
    """A site's day in its time zone, as a whole (`dimension` 0) or by one term.

    Term 0 is everything beyond the 1,000 largest, and the whole.
    """

    pk = models.CompositePrimaryKey("site_number", "day", "dimension", "term")
    site_number = models.IntegerField()
    day = models.DateField()
    dimension = models.PositiveSmallIntegerField()
    term = models.IntegerField()


class Drop(models.Model):
    """What was not counted, and why. For the owner: nothing disappears in silence."""

    pk = models.CompositePrimaryKey("site_number", "hour", "reason")
    site_number = models.IntegerField()
    hour = models.DateTimeField()
    reason = models.CharField(max_length=20)
    count = models.BigIntegerField()


class Board(Site):
    """A site as its numbers: what the admin lists."""

    class Meta:
        proxy = True
        verbose_name = "site analytics"
        verbose_name_plural = "site analytics"
