"""Serializers of roles and permissions."""

from typing import Any

from rest_framework import serializers

from accounts.models import Role
from core.http.serializers import StrictSerializer
from core.permissions import all_permissions


class RolesSerializer(StrictSerializer):
    roles = serializers.ListField(child=serializers.SlugField(max_length=40), max_length=20)

    def validate_roles(self, value: list[str]) -> list[str]:
        existing = set(Role.objects.filter(name__in=value).values_list("name", flat=True))
        if unknown := sorted(set(value) - existing):
            raise serializers.ValidationError(f"There is no role {unknown[0]}.", code="unknown_role")
        return value


class RoleSerializer(serializers.ModelSerializer[Role]):
    class Meta:
        model = Role
        fields = ["id", "name", "permissions", "built_in", "version"]
        read_only_fields = fields


class RoleChangeSerializer(StrictSerializer):
    name = serializers.RegexField(r"^[a-z][a-z0-9_-]{1,39}\Z")
    permissions = serializers.ListField(child=serializers.CharField(max_length=60), max_length=200)

    def validate_permissions(self, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - set(all_permissions())):
            raise serializers.ValidationError(
                f"There is no permission {unknown[0]}.", code="unknown_permission"
            )
        return sorted(set(value))


class PermissionSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    meaning = serializers.CharField()


class PermissionsSerializer(serializers.Serializer[Any]):
    permissions = PermissionSerializer(many=True)
    scopes = PermissionSerializer(many=True)
