"""Serializers of sites and site templates."""

import re
from typing import Any

from rest_framework import serializers

from core.http.serializers import StrictSerializer
from sites.blueprint.site_templates import site_templates
from sites.models import Access, Site
from sites.subdomains import address_of, subdomain_error

# No control, text direction or line separator characters, because names appear in mails and audit entries.
VISIBLE_CHARACTERS = re.compile("^[^\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]*\\Z")


class SiteSerializer(serializers.ModelSerializer[Site]):
    url = serializers.SerializerMethodField(help_text="The URL for visitors, valid once the site is live.")
    release = serializers.IntegerField(
        source="live_release.number",
        default=None,
        allow_null=True,
        read_only=True,
        help_text="The release that visitors see.",
    )

    role = serializers.ChoiceField(
        choices=Access.Role.choices, read_only=True, help_text="Your role on the site."
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
            "role",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    def get_url(self, site: Site) -> str:
        return address_of(site.subdomain)


class SiteChangeSerializer(StrictSerializer):
    name = serializers.RegexField(
        VISIBLE_CHARACTERS, max_length=120, error_messages={"invalid": "Use visible characters only."}
    )
    subdomain = serializers.CharField(max_length=63)

    def validate_subdomain(self, value: str) -> str:
        if message := subdomain_error(value):
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


class SiteTemplateSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    pages = serializers.IntegerField()
