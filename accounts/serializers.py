"""The shape of accounts at the boundary."""

from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers

from accounts.models import ApiKey, DataExport, Identity, Passkey, Role, Session, User
from accounts.proof_serializers import EmailField, ProfileSerializer
from accounts.services import describe
from accounts.services.exports import token_of as export_token
from core.api import StrictSerializer
from core.permissions import all_permissions, all_scopes


class UserSerializer(serializers.ModelSerializer[User]):
    roles: Any = serializers.SlugRelatedField(slug_field="name", many=True, read_only=True)
    email_verified: Any = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id", "email", "email_verified", "name", "age", "scheme", "roles", "version", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_email_verified(self, user: User) -> bool:
        return user.email_verified_at is not None


class AccountSerializer(UserSerializer):
    """A user as staff see them."""

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "is_active"]
        read_only_fields = fields


class AccountChangeSerializer(ProfileSerializer):
    is_active = serializers.BooleanField(required=False)


class AccountReplaceSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True)
    is_active = serializers.BooleanField()


class PasskeySignInSerializer(StrictSerializer):
    challenge = serializers.CharField(max_length=1000)
    credential = serializers.DictField()


class NameSerializer(StrictSerializer):
    name = serializers.CharField(max_length=60)


class PasskeyCreateSerializer(PasskeySignInSerializer, NameSerializer):
    pass


class CodeSerializer(StrictSerializer):
    code = serializers.RegexField(r"^[0-9 ]{6,9}\Z")


class RolesSerializer(StrictSerializer):
    roles = serializers.ListField(child=serializers.SlugField(max_length=40), max_length=20)

    def validate_roles(self, value: list[str]) -> list[str]:
        known = set(Role.objects.filter(name__in=value).values_list("name", flat=True))
        if unknown := sorted(set(value) - known):
            raise serializers.ValidationError(f"There is no role {unknown[0]}.", code="unknown_role")
        return value


class AccountCreateSerializer(ProfileSerializer, RolesSerializer):
    email = EmailField()
    roles = serializers.ListField(child=serializers.SlugField(max_length=40), max_length=20, required=False)


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
            raise serializers.ValidationError(f"There is no permission {unknown[0]}.", code="unknown_permission")
        return sorted(set(value))


class PermissionSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    meaning = serializers.CharField()


class PermissionsSerializer(serializers.Serializer[Any]):
    permissions = PermissionSerializer(many=True)
    scopes = PermissionSerializer(many=True)


class SessionSerializer(serializers.ModelSerializer[Session]):
    device: Any = serializers.SerializerMethodField()
    last_seen_at = serializers.DateTimeField(source="rotated_at")
    current: Any = serializers.SerializerMethodField()
    impersonated: Any = serializers.SerializerMethodField(help_text="Staff act as you in it.")

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
        return describe(session.agent)

    def get_current(self, session: Session) -> bool:
        return bool(session.pk == self.context["current"])


class MeSerializer(UserSerializer):
    impersonator = serializers.UUIDField(
        read_only=True, allow_null=True, help_text="The member of staff who acts as you in this session."
    )

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "impersonator"]
        read_only_fields = fields


class IdentitySerializer(serializers.ModelSerializer[Identity]):
    class Meta:
        model = Identity
        fields = ["id", "provider", "issuer", "created_at", "last_used_at"]
        read_only_fields = fields


class AuthorizationSerializer(serializers.Serializer[Any]):
    authorization_url = serializers.URLField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class ReturnSerializer(StrictSerializer):
    """What the provider put into the address that the browser came back to."""

    code = serializers.RegexField(r"^[\x21-\x7e]+\Z", max_length=4096)
    state = serializers.CharField(max_length=1000)
    iss = serializers.CharField(max_length=255, required=False)


class ExportSerializer(serializers.ModelSerializer[DataExport]):
    link: Any = serializers.SerializerMethodField()

    class Meta:
        model = DataExport
        fields = ["id", "state", "created_at", "expires_at", "size", "link"]
        read_only_fields = fields

    def get_link(self, export: DataExport) -> str | None:
        good = export.expires_at and export.expires_at > timezone.now()
        return f"{settings.APP_URL}/api/v1/exports/{export_token(export)}" if good else None


class PasskeySerializer(serializers.ModelSerializer[Passkey]):
    class Meta:
        model = Passkey
        fields = ["id", "name", "created_at", "last_used_at"]
        read_only_fields = fields


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
    key = serializers.CharField(help_text="Shown now and never again.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class ApiKeyCreateSerializer(StrictSerializer):
    label = serializers.CharField(max_length=80)  # type: ignore[assignment]  # DRF takes declared fields out of the class
    scopes = serializers.ListField(child=serializers.CharField(max_length=60), min_length=1, max_length=50)
    networks = serializers.ListField(child=serializers.CharField(max_length=50), max_length=50, required=False)
    requests_per_minute = serializers.IntegerField(min_value=1, max_value=settings.RATE_LIMIT, required=False)
    expires_at = serializers.DateTimeField(required=False)

    def validate_scopes(self, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - set(all_scopes())):
            raise serializers.ValidationError(f"There is no scope {unknown[0]}.", code="unknown_scope")
        return sorted(set(value))

    def validate_networks(self, value: list[str]) -> list[str]:
        try:
            found = [ip_network(item.strip()) for item in value]
            if any(getattr(network.network_address, "ipv4_mapped", None) for network in found):
                raise ValueError  # a mapped address is counted as the IPv4 one it is
            return [str(network) for network in found]
        except ValueError:
            detail = "Write networks as 203.0.113.0/24, 2001:db8::/48 or one address."
            raise serializers.ValidationError(detail, code="network") from None

    def validate_expires_at(self, value: Any) -> Any:
        if value <= timezone.now():
            raise serializers.ValidationError("This is in the past.", code="past")
        return value


class AccessSerializer(serializers.Serializer[Any]):
    access = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class SignedInSerializer(AccessSerializer):
    user = UserSerializer()


class DetailSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()


class PasskeyOptionsSerializer(serializers.Serializer[Any]):
    challenge = serializers.CharField(help_text="Send it back with the credential.")
    public_key = serializers.DictField(help_text="For parseCreationOptionsFromJSON or parseRequestOptionsFromJSON.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TotpSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="Base32, for typing.")
    uri = serializers.CharField(help_text="otpauth://")
    qr_svg = serializers.CharField(help_text="The URI as a QR code, SVG.")


class RecoveryCodesSerializer(serializers.Serializer[Any]):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(), help_text="Shown now and never again; empty when there were some already."
    )


class AddedPasskeySerializer(PasskeySerializer):
    recovery_codes = serializers.ListField(child=serializers.CharField())

    class Meta(PasskeySerializer.Meta):
        fields = [*PasskeySerializer.Meta.fields, "recovery_codes"]
        read_only_fields = fields


class FactorsSerializer(serializers.Serializer[Any]):
    totp = serializers.BooleanField()
    passkeys = serializers.IntegerField()
    recovery_codes = serializers.IntegerField(help_text="Unused ones.")


class PasswordRulesSerializer(serializers.Serializer[Any]):
    min_length = serializers.IntegerField()
    max_bytes = serializers.IntegerField()


class LimitsSerializer(serializers.Serializer[Any]):
    requests_per_minute = serializers.IntegerField()
    body_bytes = serializers.IntegerField()
    blueprint_bytes = serializers.IntegerField()


class OidcProviderSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields out of the class


class ConfigSerializer(serializers.Serializer[Any]):
    version = serializers.CharField()
    email_verification = serializers.ChoiceField(choices=["optional", "required"])
    sign_in_providers = serializers.ListField(child=serializers.CharField())
    oidc_providers = OidcProviderSerializer(many=True)
    sites_domain = serializers.CharField()
    password = PasswordRulesSerializer()
    limits = LimitsSerializer()
