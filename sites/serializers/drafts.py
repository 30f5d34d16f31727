"""Serializers of revisions and of the differences between two states of a site."""

from typing import Any

from rest_framework import serializers

from sites.models import Revision


class RevisionSerializer(serializers.ModelSerializer[Revision]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)

    class Meta:
        model = Revision
        fields = ["id", "version", "author", "size", "created_at"]
        read_only_fields = fields


class ChangedPageSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    path = serializers.CharField()
    title = serializers.CharField()


class ChangedBlockSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.CharField()
    page = serializers.CharField()
    inside = serializers.CharField(allow_null=True, help_text="The block around it.")
    slot = serializers.CharField(allow_null=True)


class ChangedPagesSerializer(serializers.Serializer[Any]):
    added = ChangedPageSerializer(many=True)
    removed = ChangedPageSerializer(many=True)
    moved = ChangedPageSerializer(many=True)
    changed = ChangedPageSerializer(many=True)


class ChangedBlocksSerializer(serializers.Serializer[Any]):
    added = ChangedBlockSerializer(many=True)
    removed = ChangedBlockSerializer(many=True)
    moved = ChangedBlockSerializer(many=True)
    changed = ChangedBlockSerializer(many=True)


class DifferencesSerializer(serializers.Serializer[Any]):
    parts = serializers.ListField(
        child=serializers.CharField(), help_text="Top-level properties that changed, without `pages`."
    )
    pages = ChangedPagesSerializer()
    blocks = ChangedBlocksSerializer()
