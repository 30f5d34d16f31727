"""Serializers of members and invitations."""

from typing import Any

from rest_framework import serializers

from core.http.serializers import StrictSerializer
from sites.models import Access, Invitation


class MemberSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Access.Role.choices)
    since = serializers.DateTimeField()


ASSIGNABLE_ROLES = [choice for choice in Access.Role.choices if choice[0] != Access.Role.OWNER]


class RoleSerializer(StrictSerializer):
    role = serializers.ChoiceField(
        choices=ASSIGNABLE_ROLES, help_text="Owner is not a choice: use /transfer."
    )


class InvitationCreateSerializer(RoleSerializer):
    email = serializers.EmailField(max_length=254)


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    author = serializers.UUIDField(source="author_id", allow_null=True, read_only=True)

    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "author", "created_at", "expires_at"]
        read_only_fields = fields


class InvitationTokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=200, help_text="The part of the mailed link after the #.")


class OpenedInvitationSerializer(serializers.ModelSerializer[Invitation]):
    site = serializers.CharField(source="site.name")
    invited_by = serializers.CharField(source="author.email", default=None, allow_null=True)

    class Meta:
        model = Invitation
        fields = ["site", "role", "email", "invited_by", "expires_at"]
        read_only_fields = fields


class JoinedSerializer(serializers.Serializer[Any]):
    site = serializers.UUIDField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=ASSIGNABLE_ROLES)


class TransferSerializer(StrictSerializer):
    member = serializers.UUIDField(help_text="The user id of a member.")
