"""Serializers of users, sessions, identities, exports and sign-in responses."""

from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.errors import ExportFailed, ExportTooLarge
from accounts.models import DataExport, Identity, Session, User
from accounts.serializers.credentials import EmailField, ProfileSerializer
from accounts.serializers.roles import RolesSerializer
from accounts.services import data_exports
from accounts.services.sessions import describe_user_agent
from core.http.serializers import StrictSerializer


class UserSerializer(serializers.ModelSerializer[User]):
    roles: Any = serializers.SlugRelatedField(slug_field="name", many=True, read_only=True)
    email_verified: Any = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "email",
            "email_verified",
            "name",
            "age",
            "scheme",
            "roles",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    def get_email_verified(self, user: User) -> bool:
        return user.email_verified_at is not None


class AccountSerializer(UserSerializer):
    """A user as shown to staff."""

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "is_active"]
        read_only_fields = fields


class AccountChangeSerializer(ProfileSerializer):
    is_active = serializers.BooleanField(required=False)


class AccountReplaceSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True)
    is_active = serializers.BooleanField()


class NameSerializer(StrictSerializer):
    name = serializers.CharField(max_length=60)


class AccountCreateSerializer(ProfileSerializer, RolesSerializer):
    email = EmailField()
    roles = serializers.ListField(child=serializers.SlugField(max_length=40), max_length=20, required=False)


class SessionSerializer(serializers.ModelSerializer[Session]):
    device: Any = serializers.SerializerMethodField()
    agent: Any = serializers.SerializerMethodField(help_text="User-Agent header; empty for staff.")
    network: Any = serializers.SerializerMethodField(help_text="IPv4 /24 or IPv6 /48; empty for staff.")
    last_seen_at = serializers.DateTimeField(source="rotated_at")
    current: Any = serializers.SerializerMethodField()
    impersonated: Any = serializers.SerializerMethodField(
        help_text="A member of staff acts as you in this session."
    )

    class Meta:
        model = Session
        fields = [
            "id",
            "device",
            "agent",
            "network",
            "created_at",
            "last_seen_at",
            "expires_at",
            "current",
            "impersonated",
        ]
        read_only_fields = fields

    def get_impersonated(self, session: Session) -> bool:
        return session.impersonator_id is not None

    def get_device(self, session: Session) -> str:
        return describe_user_agent(self.get_agent(session))

    def get_agent(self, session: Session) -> str:
        return "" if self.get_impersonated(session) else session.agent

    def get_network(self, session: Session) -> str:
        return "" if self.get_impersonated(session) else session.network

    def get_current(self, session: Session) -> bool:
        return bool(session.pk == self.context["current"])


class MeSerializer(UserSerializer):
    impersonator = serializers.UUIDField(
        read_only=True, allow_null=True, help_text="The member of staff who acts as you in this session."
    )

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "impersonator"]
        read_only_fields = fields


class UsageSerializer(serializers.Serializer[Any]):
    allowed = serializers.IntegerField(help_text="Bytes that you may store.")
    used = serializers.IntegerField(help_text="Bytes that you store.")
    parts = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Bytes by kind: drafts, revisions, releases and posts of your own sites, and vault.",
    )


class IdentitySerializer(serializers.ModelSerializer[Identity]):
    class Meta:
        model = Identity
        fields = ["id", "provider", "issuer", "created_at", "last_used_at"]
        read_only_fields = fields


class AuthorizationSerializer(serializers.Serializer[Any]):
    authorization_url = serializers.URLField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class ReturnSerializer(StrictSerializer):
    """The query parameters with which the provider redirected the browser back."""

    code = serializers.RegexField(r"^[\x21-\x7e]+\Z", max_length=4096)
    state = serializers.CharField(max_length=1000)
    iss = serializers.CharField(max_length=255, required=False)


class ExportFailureSerializer(serializers.Serializer[Any]):
    code = serializers.ChoiceField(choices=[ExportTooLarge.code, ExportFailed.code])
    detail = serializers.CharField(source="message")


class ExportSerializer(serializers.ModelSerializer[DataExport]):
    state = serializers.ChoiceField(choices=DataExport.Status.choices, source="status", read_only=True)
    link: Any = serializers.SerializerMethodField(
        help_text="Download it with the access token of the owner. null before the archive is ready."
    )
    failure: Any = serializers.SerializerMethodField(
        help_text="Why the archive was not built. null unless the state is dead."
    )

    class Meta:
        model = DataExport
        fields = ["id", "state", "created_at", "expires_at", "size", "link", "failure"]
        read_only_fields = fields

    @extend_schema_field(ExportFailureSerializer(allow_null=True))
    def get_failure(self, export: DataExport) -> Any:
        failure = data_exports.failure_of(export)
        return ExportFailureSerializer(failure).data if failure else None

    def get_link(self, export: DataExport) -> str | None:
        if not export.expires_at or export.expires_at <= timezone.now():
            return None
        return f"{settings.APP_URL}/api/v1/exports/{data_exports.token_of(export)}"


class AccessSerializer(serializers.Serializer[Any]):
    access = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class SignedInSerializer(AccessSerializer):
    user = UserSerializer()


class DetailSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()
