"""Serializers of the public API. They describe the responses for OpenAPI; the view returns dictionaries."""

from typing import Any

from rest_framework import serializers


class PictureAddressSerializer(serializers.Serializer[Any]):
    src = serializers.URLField()
    srcset = serializers.CharField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()


class PublicReleaseSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    published_at = serializers.DateTimeField()


class PublicPageSummarySerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    path = serializers.CharField()
    title = serializers.CharField()
    seo = serializers.DictField()


class PublicSiteSerializer(serializers.Serializer[Any]):
    host = serializers.CharField()
    url = serializers.URLField()
    title = serializers.CharField()
    locale = serializers.CharField(help_text="BCP 47.")
    direction = serializers.ChoiceField(choices=["ltr", "rtl"])
    settings = serializers.DictField()
    theme = serializers.DictField()
    navigation = serializers.ListField(child=serializers.DictField())
    pages = PublicPageSummarySerializer(many=True)
    posts_path = serializers.CharField(help_text="The path of the list of posts on the site that we serve.")
    release = PublicReleaseSerializer()
    pictures = serializers.DictField(child=PictureAddressSerializer(), help_text="By asset id.")


class PublicPageSerializer(PublicPageSummarySerializer):
    blocks = serializers.ListField(child=serializers.DictField())
    pictures = serializers.DictField(child=PictureAddressSerializer(), help_text="By asset id.")


class PublicPostListSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    title = serializers.CharField()
    excerpt = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    author = serializers.CharField(help_text="The author's name; empty when the account is closed.")
    published_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class PublicPostSerializer(PublicPostListSerializer):
    blocks = serializers.ListField(child=serializers.DictField())
    pictures = serializers.DictField(child=PictureAddressSerializer(), help_text="By asset id.")
