"""Serializers of API keys."""

from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers

from accounts.models import ApiKey
from core.http.fields import TimeField
from core.http.serializers import StrictSerializer
from core.permissions import all_scopes


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = [
            "id",
            "label",
            "prefix",
            "scopes",
            "networks",
            "requests_per_minute",
            "expires_at",
            "last_used_at",
            "created_at",
        ]
        read_only_fields = fields


class IssuedApiKeySerializer(ApiKeySerializer):
    key = serializers.CharField(help_text="The text of the key. It cannot be shown again.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class ApiKeyCreateSerializer(StrictSerializer):
    # DRF removes declared fields from the class.
    label = serializers.CharField(max_length=80)  # type: ignore[assignment]
    scopes = serializers.ListField(child=serializers.CharField(max_length=60), min_length=1, max_length=50)
    networks = serializers.ListField(
        child=serializers.CharField(max_length=50), max_length=50, required=False
    )
    requests_per_minute = serializers.IntegerField(min_value=1, max_value=settings.RATE_LIMIT, required=False)
    expires_at = TimeField(required=False)

    def validate_scopes(self, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - set(all_scopes())):
            raise serializers.ValidationError(f"There is no scope {unknown[0]}.", code="unknown_scope")
        return sorted(set(value))

    def validate_networks(self, value: list[str]) -> list[str]:
        try:
            networks = [ip_network(item.strip()) for item in value]
            if any(getattr(network.network_address, "ipv4_mapped", None) for network in networks):
                raise ValueError  # client addresses are converted to IPv4, so it would never match
            return [str(network) for network in networks]
        except ValueError:
            detail = "Write networks as 203.0.113.0/24, 2001:db8::/48 or one address."
            raise serializers.ValidationError(detail, code="network") from None

    def validate_expires_at(self, value: Any) -> Any:
        if value <= timezone.now():
            raise serializers.ValidationError("This is in the past.", code="past")
        return value
