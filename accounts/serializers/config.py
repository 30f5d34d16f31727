"""Serializers of `GET /config`."""

from typing import Any

from rest_framework import serializers


class PasswordRulesSerializer(serializers.Serializer[Any]):
    min_length = serializers.IntegerField()
    max_bytes = serializers.IntegerField()


class LimitsSerializer(serializers.Serializer[Any]):
    requests_per_minute = serializers.IntegerField()
    body_bytes = serializers.IntegerField()
    blueprint_bytes = serializers.IntegerField()


class OidcProviderSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF removes declared fields from the class


class ConfigSerializer(serializers.Serializer[Any]):
    version = serializers.CharField()
    email_verification = serializers.ChoiceField(choices=["optional", "required"])
    sign_in_providers = serializers.ListField(child=serializers.CharField())
    oidc_providers = OidcProviderSerializer(many=True)
    sites_domain = serializers.CharField()
    password = PasswordRulesSerializer()
    limits = LimitsSerializer()
