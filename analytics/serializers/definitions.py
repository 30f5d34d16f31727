"""What a site's people save: goals, segments, funnels, annotations and links."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from analytics.models import Annotation, Definition, Share, Subscription
from analytics.reports.filters import MAX_FILTERS, MAX_TEXT, parse_filter
from analytics.sharing.links import link_to
from core.http.serializers import StrictSerializer

CONDITION = "A filter as reports take it: `dimension:operator:value`."
MAX_STEPS = 8
LONGEST = timedelta(days=5 * 366)


def condition(text: str) -> None:
    try:
        parse_filter(text)
    except ValueError as error:
        raise serializers.ValidationError(str(error), code="query_filter") from None


class ConditionsField(serializers.ListField):
    child = serializers.CharField(max_length=MAX_TEXT, validators=[condition], help_text=CONDITION)


class DefinitionSerializer(serializers.ModelSerializer[Definition], StrictSerializer):
    conditions = ConditionsField(min_length=1, max_length=MAX_FILTERS)

    class Meta:
        model = Definition
        fields = ["id", "name", "conditions", "created_at"]
        read_only_fields = ["id", "created_at"]


class FunnelSerializer(DefinitionSerializer):
    conditions = ConditionsField(min_length=2, max_length=MAX_STEPS, help_text="The steps, in order.")


class AnnotationCreateSerializer(serializers.ModelSerializer[Annotation], StrictSerializer):
    class Meta:
        model = Annotation
        fields = ["day", "text"]


class AnnotationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True, help_text="null for a publish, which nobody wrote.")
    kind = serializers.ChoiceField(["note", "publish"])
    day = serializers.DateField()
    text = serializers.CharField()


class ShareSerializer(serializers.ModelSerializer[Share]):
    author = serializers.UUIDField(source="author_id", read_only=True)
    url = serializers.SerializerMethodField(help_text="Whoever has it sees the numbers.")
    protected = serializers.SerializerMethodField(help_text="Whether it asks for a password.")

    class Meta:
        model = Share
        fields = ["id", "name", "url", "conditions", "protected", "author", "created_at", "expires_at"]
        read_only_fields = fields

    def get_url(self, row: Share) -> str:
        return link_to(row)

    def get_protected(self, row: Share) -> bool:
        return bool(row.password)


class ShareCreateSerializer(StrictSerializer):
    name = serializers.CharField(max_length=80)
    conditions = ConditionsField(
        max_length=MAX_FILTERS, default=list, help_text="They hold whatever is looked at."
    )
    password = serializers.CharField(
        min_length=8, max_length=200, default="", trim_whitespace=False, help_text="None unless told."
    )
    expires_at = serializers.DateTimeField(default=None, allow_null=True, help_text="Never unless told.")

    def validate_expires_at(self, value: Any) -> Any:
        now = timezone.now()
        if value is not None and not now < value <= now + LONGEST:
            raise serializers.ValidationError(
                "Choose a time that lies ahead, within five years.", code="time_passed"
            )
        return value


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    class Meta:
        model = Subscription
        fields = ["created_at"]
        read_only_fields = fields
