"""Serializers of reports, of analytics settings, and of events that servers send."""

from typing import Any

from rest_framework import serializers

from analytics.models import Settings
from core.http.fields import TimeField
from core.http.serializers import BoundedListSerializer, StrictSerializer

SAMPLE_HELP = "The share of the visitors that was counted. Below 1 the numbers are estimates."


class MetricsSerializer(serializers.Serializer[Any]):
    visitors = serializers.IntegerField(
        help_text="Daily visitors, summed: a person who comes on two days counts twice."
    )
    visits = serializers.IntegerField(
        help_text="A visit ends after 30 minutes without an event, and at the site's midnight."
    )
    pageviews = serializers.IntegerField()
    events = serializers.IntegerField(help_text="Custom events, outbound links and downloads.")
    views_per_visit = serializers.FloatField(allow_null=True)
    bounce_rate = serializers.FloatField(
        allow_null=True, help_text="Share of the visits with one page view and no other event, 0 to 1."
    )
    visit_duration = serializers.IntegerField(allow_null=True, help_text="Seconds.")
    time_on_page = serializers.IntegerField(
        allow_null=True, help_text="Average viewing time of a page view, in seconds."
    )


class ConversionSerializer(serializers.Serializer[Any]):
    """Added to the metrics when the request names a goal."""

    conversions = serializers.IntegerField(required=False, help_text="How often the goal was reached.")
    converted = serializers.IntegerField(required=False, help_text="Daily visitors who reached it.")
    conversion_rate = serializers.FloatField(
        required=False, allow_null=True, help_text="Share of all visitors, 0 to 1."
    )
    revenue = serializers.DictField(
        required=False, child=serializers.CharField(), help_text="Decimal text by ISO 4217 currency."
    )


class AnswerSerializer(MetricsSerializer, ConversionSerializer):
    pass


class RangeSerializer(serializers.Serializer[Any]):
    first = serializers.DateField()
    last = serializers.DateField()
    timezone = serializers.CharField()


class SummarySerializer(serializers.Serializer[Any]):
    range = RangeSerializer()
    sample = serializers.FloatField(help_text=SAMPLE_HELP)
    metrics = AnswerSerializer()
    compared = AnswerSerializer(allow_null=True)


class PointSerializer(AnswerSerializer):
    at = serializers.CharField(help_text="The first instant, in the site's time zone.")


class TimeseriesSerializer(serializers.Serializer[Any]):
    range = RangeSerializer()
    sample = serializers.FloatField(help_text=SAMPLE_HELP)
    interval = serializers.CharField()
    results = PointSerializer(many=True)
    compared = PointSerializer(many=True, allow_null=True)


class SliceSerializer(AnswerSerializer):
    value = serializers.CharField(allow_null=True, help_text="null when the value is unknown.")


class BreakdownSerializer(serializers.Serializer[Any]):
    range = RangeSerializer()
    sample = serializers.FloatField(help_text=SAMPLE_HELP)
    dimension = serializers.CharField()
    count = serializers.IntegerField(help_text="How many values there are.")
    results = SliceSerializer(many=True)


class GoalReportSerializer(ConversionSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()


class ConversionsSerializer(serializers.Serializer[Any]):
    range = RangeSerializer()
    sample = serializers.FloatField(help_text=SAMPLE_HELP)
    results = GoalReportSerializer(many=True)


class StepSerializer(serializers.Serializer[Any]):
    step = serializers.CharField()
    visitors = serializers.IntegerField()
    rate = serializers.FloatField(
        allow_null=True, help_text="Share of the visitors of the first step, 0 to 1."
    )
    step_rate = serializers.FloatField(
        allow_null=True, help_text="Share of the visitors of the step before, 0 to 1."
    )


class FunnelReportSerializer(serializers.Serializer[Any]):
    range = RangeSerializer()
    sample = serializers.FloatField(help_text=SAMPLE_HELP)
    name = serializers.CharField()
    results = StepSerializer(many=True)


class RawEventSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    kind = serializers.CharField()
    page = serializers.CharField()
    visitor = serializers.CharField(
        allow_null=True, help_text="The same for one visitor until the site's midnight."
    )
    visit = serializers.CharField(allow_null=True)
    properties = serializers.DictField(allow_null=True)


class RawEventsSerializer(serializers.Serializer[Any]):
    results = RawEventSerializer(
        many=True, help_text="Each with all fields of the event; texts are empty when unknown."
    )
    next = serializers.URLField(allow_null=True)


class PresentPageSerializer(serializers.Serializer[Any]):
    page = serializers.CharField()
    visitors = serializers.IntegerField()


class RealtimeSerializer(serializers.Serializer[Any]):
    visitors = serializers.IntegerField(help_text="Within the last five minutes.")
    pages = PresentPageSerializer(many=True)


class DropSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()
    count = serializers.IntegerField()


class DropsSerializer(serializers.Serializer[Any]):
    range = RangeSerializer()
    results = DropSerializer(many=True)


class SettingsSerializer(serializers.ModelSerializer[Settings], StrictSerializer):
    class Meta:
        model = Settings
        fields = ["enabled", "timezone", "signals", "keep_days"]
        extra_kwargs = {"keep_days": {"min_value": 10, "max_value": 3650}}


class EventSerializer(StrictSerializer):
    """One event that a server recorded.

    With the `address` and the `user_agent` of a visitor it becomes part of their visit.
    """

    class Meta:
        list_serializer_class = BoundedListSerializer

    name = serializers.CharField(max_length=60, help_text="`pageview`, or the name of a custom event.")
    url = serializers.CharField(max_length=4000, help_text="On the site's own host.")
    referrer = serializers.CharField(max_length=4000, required=False, allow_blank=True)
    timestamp = TimeField(required=False, help_text="At most 7 days ago. The default is now.")
    id = serializers.RegexField(
        r"^[0-9a-f]{16}\Z",
        required=False,
        help_text="An event that is sent again with this id within an hour counts once.",
    )
    properties = serializers.DictField(required=False)
    revenue = serializers.DictField(required=False, help_text="`{amount, currency}`, ISO 4217.")
    address = serializers.IPAddressField(required=False, help_text="Never stored.")
    user_agent = serializers.CharField(max_length=500, required=False, help_text="Never stored.")


class AcceptedSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    dropped = serializers.DictField(
        child=serializers.IntegerField(), help_text="Number of dropped events by reason."
    )
