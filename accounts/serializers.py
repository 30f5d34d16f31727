"""The shape of accounts at the boundary."""

import base64
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import EmailValidator as DjangoEmailValidator
from django.utils import timezone
from rest_framework import serializers

from accounts.blind import HASH_BYTES
from accounts.models import ApiKey, Kdf, Passkey, Role, Session, User, normalise_email
from accounts.passwords import MAX_BYTES
from accounts.services import describe
from core.api import StrictSerializer
from core.errors import FieldProblem, Invalid
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


class ProfileSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True, required=False)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True, required=False)


class AccountChangeSerializer(ProfileSerializer):
    is_active = serializers.BooleanField(required=False)


class AccountReplaceSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True)
    is_active = serializers.BooleanField()


class EmailField(serializers.CharField):
    """The one spelling of an address, which must be an address itself: normalising can add an `@` or a `/`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=254, **options)

    def to_internal_value(self, data: Any) -> str:
        email = normalise_email(super().to_internal_value(data))
        try:
            DjangoEmailValidator()(email)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages[0], code="invalid") from None
        if len(email) > 254:
            raise serializers.ValidationError("Use at most 254 characters.", code="max_length")
        return email


class PasswordField(serializers.CharField):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_BYTES, trim_whitespace=False, write_only=True, **options)


def check_new_password(password: str, user: User) -> None:
    """Raise Invalid, pointing at `password`, when it is too weak for this user."""
    try:
        validate_password(password, user)
    except DjangoValidationError as error:
        raise weak(error) from None


def weak(error: DjangoValidationError) -> Invalid:
    """What is wrong with a new password."""
    return Invalid([FieldProblem("/password", item.code or "invalid", item.messages[0]) for item in error.error_list])


class EmailSerializer(StrictSerializer):
    email = EmailField()


class Base64Field(serializers.CharField):
    """Bytes in base64 (RFC 4648, section 4, with padding), `least` to `most` of them."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        self.least, self.most = least, most
        super().__init__(max_length=(most + 2) // 3 * 4, **options)

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        try:
            found = base64.b64decode(text, validate=True)
        except ValueError:
            found = b""
        if base64.b64encode(found).decode() != text or not self.least <= len(found) <= self.most:
            size = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
            raise serializers.ValidationError(f"Send {size} bytes in base64.", code="base64")
        return found

    def to_representation(self, value: Any) -> str:
        return base64.b64encode(value).decode()


class AuthHashField(Base64Field):
    """What a client derived from the password for signing in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(HASH_BYTES, HASH_BYTES, write_only=True, **options)

    def to_internal_value(self, data: Any) -> str:
        return base64.b64encode(super().to_internal_value(data)).decode()


class KdfSerializer(StrictSerializer):
    algorithm = serializers.ChoiceField([Kdf.ALGORITHM])
    iterations = serializers.IntegerField(min_value=Kdf.MIN_ITERATIONS, max_value=Kdf.MAX_ITERATIONS)


class NewSecretSerializer(StrictSerializer):
    """`password`; or for a blind account `scheme: "blind"` with `kdf`, `salt` and `auth_hash`. Validated data have the
    `password` to hash, whichever it is, and `kdf`, which is None for the first.
    """

    scheme = serializers.ChoiceField(User.Scheme.choices, default=User.Scheme.PASSWORD)
    password = PasswordField(required=False)
    kdf = KdfSerializer(required=False)
    salt = Base64Field(Kdf.MIN_SALT, Kdf.MAX_SALT, required=False)
    auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        blind = attrs.pop("scheme") == User.Scheme.BLIND
        wanted, others = {"kdf", "salt", "auth_hash"}, {"password"}
        if not blind:
            wanted, others = others, wanted
        faults = {name: ["This field is required."] for name in sorted(wanted - attrs.keys())}
        faults |= {name: ["This does not go with this scheme."] for name in sorted(others & attrs.keys())}
        if faults:
            raise serializers.ValidationError(faults)
        if blind:
            attrs["kdf"] = Kdf(attrs["kdf"]["iterations"], attrs.pop("salt"))
            attrs["password"] = attrs.pop("auth_hash")
        return {"kdf": None, **attrs}


class RegisterSerializer(NewSecretSerializer, ProfileSerializer):
    email = EmailField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if attrs["kdf"] is None:
            check_new_password(attrs["password"], User(email=attrs["email"], name=attrs.get("name", "")))
        return attrs


class PreloginSerializer(StrictSerializer):
    email = serializers.CharField(max_length=254)


class ParametersSerializer(serializers.Serializer[Any]):
    scheme = serializers.ChoiceField(User.Scheme.choices)
    kdf = KdfSerializer()
    salt = Base64Field(Kdf.MIN_SALT, Kdf.MAX_SALT)


class LoginSerializer(StrictSerializer):
    """`password` or `auth_hash`, as `prelogin` says."""

    email = serializers.CharField(max_length=254)
    password = PasswordField(required=False)
    auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return secret_of(attrs)


def secret_of(attrs: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`attrs` with `secret` and `scheme` in place of `password` or `auth_hash`. Raises ValidationError without exactly one."""
    names = {User.Scheme.PASSWORD: f"{prefix}password", User.Scheme.BLIND: f"{prefix}auth_hash"}
    given = [scheme for scheme, name in names.items() if name in attrs]
    if len(given) != 1:
        raise serializers.ValidationError(f"Send exactly one of {', '.join(names.values())}.", code="exactly_one")
    secret = attrs.pop(names[given[0]])
    return {**attrs, "secret": secret, "scheme": given[0]}


class TokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=200)


class PasswordResetSerializer(NewSecretSerializer, TokenSerializer):
    accept_vault_loss = serializers.BooleanField(
        default=False, help_text="For a blind account: what its old password encrypted can never be read again."
    )


class PasswordChangeSerializer(NewSecretSerializer):
    current_password = PasswordField(required=False)
    current_auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return secret_of(super().validate(attrs), prefix="current_")


class FactorSerializer(StrictSerializer):
    """One second factor: `code`, `recovery_code`, or `credential` as `PublicKeyCredential.toJSON()` gives it."""

    code = serializers.RegexField(r"^[0-9 ]{6,9}\Z", required=False)
    recovery_code = serializers.CharField(max_length=40, required=False)
    credential = serializers.DictField(required=False)
    one_of: tuple[str, ...] = ("code", "recovery_code", "credential")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs.keys() & set(self.one_of)) != 1:
            raise serializers.ValidationError(f"Send exactly one of {', '.join(self.one_of)}.", code="exactly_one")
        return attrs


class MfaVerifySerializer(FactorSerializer):
    challenge = serializers.CharField(max_length=1000)


class ProofSerializer(FactorSerializer):
    """A proof: `password`, `auth_hash` or a second factor, a `credential` with the `challenge` that it answers."""

    password = PasswordField(required=False)
    auth_hash = AuthHashField(required=False)
    challenge = serializers.CharField(max_length=1000, required=False)
    one_of = ("password", "auth_hash", "code", "recovery_code", "credential")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("credential" in attrs) != ("challenge" in attrs):
            raise serializers.ValidationError("A credential comes with its challenge.", code="challenge")
        return super().validate(attrs)


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

    class Meta:
        model = Session
        fields = ["id", "device", "agent", "network", "created_at", "last_seen_at", "expires_at", "current"]
        read_only_fields = fields

    def get_device(self, session: Session) -> str:
        return describe(session.agent)

    def get_current(self, session: Session) -> bool:
        return bool(session.pk == self.context["current"])


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


class ConfigSerializer(serializers.Serializer[Any]):
    version = serializers.CharField()
    email_verification = serializers.ChoiceField(choices=["optional", "required"])
    sign_in_providers = serializers.ListField(child=serializers.CharField())
    sites_domain = serializers.CharField()
    password = PasswordRulesSerializer()
    limits = LimitsSerializer()
