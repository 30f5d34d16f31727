"""Serializers of releases, schedules, reviews and previews."""

from typing import Any

from rest_framework import serializers

from core.http.fields import TimeField
from core.http.serializers import StrictSerializer
from sites.models import Preview, Release, Review, Schedule
from sites.services.previews import preview_url


class ReleaseSerializer(serializers.ModelSerializer[Release]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)
    live = serializers.SerializerMethodField(help_text="Whether visitors see this release now.")

    class Meta:
        model = Release
        fields = ["id", "number", "note", "author", "live", "created_at"]
        read_only_fields = fields

    def get_live(self, release: Release) -> bool:
        return bool(release.pk == self.context["live"])


class NoteSerializer(StrictSerializer):
    note = serializers.CharField(
        max_length=500, allow_blank=True, required=False, help_text="What is new in this version."
    )


class ScheduleSerializer(serializers.ModelSerializer[Schedule]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)
    draft_version = serializers.IntegerField(
        source="revision.version",
        default=None,
        allow_null=True,
        read_only=True,
        help_text="The version of the draft that is published.",
    )

    state = serializers.ChoiceField(choices=Schedule.Status.choices, source="status", read_only=True)

    class Meta:
        model = Schedule
        fields = ["id", "act", "at", "note", "author", "draft_version", "state", "refused", "created_at"]
        read_only_fields = fields


class ScheduleCreateSerializer(NoteSerializer):
    act = serializers.ChoiceField(choices=Schedule.Act.choices, default=Schedule.Act.PUBLISH)
    at = TimeField()


class ReviewSerializer(serializers.ModelSerializer[Review]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)
    editor = serializers.UUIDField(source="editor_id", allow_null=True, read_only=True)
    revision = serializers.UUIDField(source="revision_id", allow_null=True, read_only=True)
    draft_version = serializers.IntegerField(
        source="revision.version",
        default=None,
        allow_null=True,
        read_only=True,
        help_text="The version of the draft to publish.",
    )

    state = serializers.ChoiceField(choices=Review.Status.choices, source="status", read_only=True)

    class Meta:
        model = Review
        fields = [
            "id",
            "state",
            "note",
            "author",
            "revision",
            "draft_version",
            "comment",
            "editor",
            "created_at",
            "answered_at",
        ]
        read_only_fields = fields


class CommentSerializer(StrictSerializer):
    comment = serializers.CharField(max_length=2000)


class OptionalCommentSerializer(StrictSerializer):
    comment = serializers.CharField(max_length=2000, allow_blank=True, required=False)


class PreviewSerializer(serializers.ModelSerializer[Preview]):
    author = serializers.UUIDField(source="author_id", read_only=True)
    revision = serializers.UUIDField(source="revision_id", allow_null=True, read_only=True)
    post = serializers.UUIDField(source="post_id", allow_null=True, read_only=True)
    url = serializers.SerializerMethodField(help_text="Anyone with this link sees the unpublished content.")

    class Meta:
        model = Preview
        fields = ["id", "url", "revision", "post", "author", "created_at", "expires_at"]
        read_only_fields = fields

    def get_url(self, preview: Preview) -> str:
        return preview_url(preview, self.context["site"])


class PreviewCreateSerializer(StrictSerializer):
    """Without `revision` and `post` the link always shows the current draft."""

    revision = serializers.UUIDField(required=False, allow_null=True)
    post = serializers.UUIDField(required=False, allow_null=True)
    hours = serializers.IntegerField(
        min_value=1, max_value=24 * 30, default=72, help_text="How many hours the link works."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("revision") and attrs.get("post"):
            raise serializers.ValidationError("Give either a revision or a post.", code="too_many_targets")
        return attrs
