"""The shape of sites at the boundary."""

from typing import Any

from rest_framework import serializers

from core.api import StrictSerializer
from sites.models import Release, Revision, Site
from sites.starters import site_templates
from sites.subdomains import address_of, fault


class SiteSerializer(serializers.ModelSerializer[Site]):
    url = serializers.SerializerMethodField(help_text="Where visitors find it once it is live.")
    release = serializers.IntegerField(
        source="live_release.number",
        default=None,
        allow_null=True,
        read_only=True,
        help_text="The release that visitors see.",
    )

    class Meta:
        model = Site
        fields = [
            "id",
            "name",
            "subdomain",
            "url",
            "status",
            "release",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields  # only services move them

    def get_url(self, site: Site) -> str:
        return address_of(site.subdomain)


class SiteChangeSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120)
    subdomain = serializers.CharField(max_length=63)

    def validate_subdomain(self, value: str) -> str:
        if message := fault(value):
            raise serializers.ValidationError(message, code="subdomain_refused")
        return value


class SiteCreateSerializer(SiteChangeSerializer):
    template = serializers.CharField(
        max_length=40, required=False, allow_null=True, help_text="A key from /site-templates."
    )

    def validate_template(self, value: str | None) -> str | None:
        if value is not None and value not in site_templates():
            raise serializers.ValidationError("There is no such site template.", code="unknown_template")
        return value


class ReleaseSerializer(serializers.ModelSerializer[Release]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)

    class Meta:
        model = Release
        fields = ["id", "number", "author", "created_at"]
        read_only_fields = fields


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
    parts = serializers.ListField(child=serializers.CharField(), help_text="Changed top-level parts but the pages.")
    pages = ChangedPagesSerializer()
    blocks = ChangedBlocksSerializer()


class SiteTemplateSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    pages = serializers.IntegerField()
