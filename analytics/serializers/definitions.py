"""Serializers of what the people of a site save: goals, segments, funnels, annotations, links and mails."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from analytics.models import Annotation, Definition, Share, Subscription
from analytics.reports.filters import MAX_FILTER_CHARACTERS, MAX_FILTERS, parse_filter
from analytics.sharing.links import build_share_url
from core.http.fields import TimeField
from core.http.serializers import StrictSerializer

CONDITION_HELP = "A filter as reports take it: `dimension:operator:value`."
MAX_FUNNEL_STEPS = 8
MAX_SHARE_LIFETIME = timedelta(days=5 * 366)


def validate_condition(text: str) -> None:
    """Raises ValidationError when a text is not a filter."""
    try:
        parse_filter(text)
    except ValueError as error:
        raise serializers.ValidationError(str(error), code="query_filter") from None


class ConditionsField(serializers.ListField):
    child = serializers.CharField(
        max_length=MAX_FILTER_CHARACTERS, validators=[validate_condition], help_text=CONDITION_HELP
    )


class DefinitionSerializer(serializers.ModelSerializer[Definition], StrictSerializer):
    conditions = ConditionsField(min_length=1, max_length=MAX_FILTERS)

    class Meta:
        model = Definition
        fields = ["id", "name", "conditions", "created_at"]
        read_only_fields = ["id", "created_at"]


class FunnelSerializer(DefinitionSerializer):
    conditions = ConditionsField(min_length=2, max_length=MAX_FUNNEL_STEPS, help_text="The steps, in order.")


class AnnotationCreateSerializer(serializers.ModelSerializer[Annotation], StrictSerializer):
    class Meta:
        model = Annotation
        fields = ["day", "text"]


class AnnotationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True, help_text="null for a publish, which is not an annotation.")
    kind = serializers.ChoiceField(["note", "publish"])
    day = serializers.DateField()
    text = serializers.CharField()


class ShareSerializer(serializers.ModelSerializer[Share]):
    author = serializers.UUIDField(source="author_id", read_only=True)
    url = serializers.SerializerMethodField(help_text="Shows the dashboard to everyone who has it.")
    protected = serializers.SerializerMethodField(help_text="Whether it asks for a password.")

    class Meta:
        model = Share
        fields = ["id", "name", "url", "conditions", "protected", "author", "created_at", "expires_at"]
        read_only_fields = fields

    def get_url(self, row: Share) -> str:
        return build_share_url(row)

    def get_protected(self, row: Share) -> bool:
        return bool(row.password)


class ShareCreateSerializer(StrictSerializer):
    name = serializers.CharField(max_length=80)
    conditions = ConditionsField(
        max_length=MAX_FILTERS, default=list, help_text="Filters that apply to everything the link shows."
    )
    password = serializers.CharField(
        min_length=8,
        max_length=200,
        default="",
        trim_whitespace=False,
        help_text="By default the link asks for no password.",
    )
    expires_at = TimeField(default=None, allow_null=True, help_text="By default the link never expires.")

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        now = timezone.now()
        if value is not None and not now < value <= now + MAX_SHARE_LIFETIME:
            raise serializers.ValidationError(
                "Choose a time in the future, within five years.", code="time_passed"
            )
        return value


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    class Meta:
        model = Subscription
        fields = ["created_at"]
        read_only_fields = fields
