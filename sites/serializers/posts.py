"""Serializers of posts for members. `serializers/public.py` has those for visitors."""

import re
from typing import Any

from rest_framework import serializers

from core.http.fields import TimeField
from core.http.serializers import StrictSerializer
from sites.models import Post

SLUG_PATTERN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FORBIDDEN_TAG_CHARACTERS = re.compile(r"[\x00-\x1f\x7f/\\]")
MAX_TAGS = 20


class BlocksField(serializers.JSONField):
    """A list of blocks, as in a page. The service validates them and reports errors with JSON Pointers."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise serializers.ValidationError("Send a list of blocks.", code="not_a_list")
        return data


class PostWriteSerializer(StrictSerializer):
    title = serializers.CharField(max_length=200)
    slug = serializers.CharField(
        max_length=100, help_text="The last part of its URL; made from the title if absent."
    )
    excerpt = serializers.CharField(max_length=500, allow_blank=True)
    blocks = BlocksField()
    tags = serializers.ListField(child=serializers.CharField(max_length=40), max_length=MAX_TAGS)
    author = serializers.UUIDField(allow_null=True, help_text="A member who may write posts; you, if absent.")
    published_at = TimeField(allow_null=True, help_text="When visitors start to see it; null for a draft.")

    def validate_slug(self, value: str) -> str:
        if not SLUG_PATTERN.fullmatch(value):
            raise serializers.ValidationError(
                "Use lower-case letters, digits and single hyphens.", code="slug_refused"
            )
        return value

    def validate_tags(self, value: list[str]) -> list[str]:
        if any(FORBIDDEN_TAG_CHARACTERS.search(tag) or tag in {".", ".."} for tag in value):
            raise serializers.ValidationError(
                "Use neither slashes nor control characters in a tag, and do not use `.` or `..`.",
                code="tag_refused",
            )
        return list(dict.fromkeys(value))


class PostCreateSerializer(PostWriteSerializer):
    """As `PostWriteSerializer`, but only the title is required."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.required = name == "title"


class PostListSerializer(serializers.ModelSerializer[Post]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)

    class Meta:
        model = Post
        fields = [
            "id",
            "slug",
            "title",
            "excerpt",
            "tags",
            "author",
            "published_at",
            "live",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields


class PostSerializer(PostListSerializer):
    blocks = serializers.JSONField(read_only=True)

    class Meta(PostListSerializer.Meta):
        fields = [*PostListSerializer.Meta.fields, "blocks"]
        read_only_fields = fields
