"""The shape of what people prove themselves with: addresses, passwords, what stands for them, and second
factors.
"""

import base64
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import EmailValidator as DjangoEmailValidator
from rest_framework import serializers

from accounts.credentials.password_validators import MAX_BYTES
from accounts.credentials.zero_knowledge import HASH_BYTES
from accounts.models import Kdf, User, normalise_email
from core.errors import FieldProblem, Invalid
from core.http.fields import Base64Field
from core.http.serializers import StrictSerializer


class ProfileSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True, required=False)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True, required=False)


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
    return Invalid(
        [FieldProblem("/password", item.code or "invalid", item.messages[0]) for item in error.error_list]
    )


class EmailSerializer(StrictSerializer):
    email = EmailField()


class AuthHashField(Base64Field):
    """What a client derived from the password for signing in."""

    def __init__(self, *, required: bool = True) -> None:
        super().__init__(HASH_BYTES, HASH_BYTES, write_only=True, required=required)

    def to_internal_value(self, data: Any) -> str:
        return base64.b64encode(super().to_internal_value(data)).decode()


class KdfSerializer(StrictSerializer):
    algorithm = serializers.ChoiceField([Kdf.ALGORITHM])
    iterations = serializers.IntegerField(min_value=Kdf.MIN_ITERATIONS, max_value=Kdf.MAX_ITERATIONS)


class NewSecretSerializer(StrictSerializer):
    """`password`; or for a blind account `scheme: "blind"` with `kdf`, `salt` and `auth_hash`.

    Validated data have the `password` to hash, whichever it is, and `kdf`, which is None for the first.
    """

    scheme = serializers.ChoiceField(User.Scheme.choices, default=User.Scheme.PASSWORD)
    password = PasswordField(required=False)
    kdf = KdfSerializer(required=False)
    salt = Base64Field(Kdf.MIN_SALT, Kdf.MAX_SALT, required=False)
    auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        blind = attrs.pop("scheme") == User.Scheme.BLIND
        wanted = {"kdf", "salt", "auth_hash"}
        others = {"password"}
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
    """`attrs` with `secret` and `scheme` in place of `password` or `auth_hash`.

    Raises ValidationError without exactly one.
    """
    names = {User.Scheme.PASSWORD: f"{prefix}password", User.Scheme.BLIND: f"{prefix}auth_hash"}
    given = [scheme for scheme, name in names.items() if name in attrs]
    if len(given) != 1:
        raise serializers.ValidationError(
            f"Send exactly one of {', '.join(names.values())}.", code="exactly_one"
        )
    secret = attrs.pop(names[given[0]])
    return {**attrs, "secret": secret, "scheme": given[0]}


class TokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=200)


class PasswordResetSerializer(NewSecretSerializer, TokenSerializer):
    accept_vault_loss = serializers.BooleanField(
        default=False,
        help_text="For a blind account: what its old password encrypted can never be read again.",
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
            raise serializers.ValidationError(
                f"Send exactly one of {', '.join(self.one_of)}.", code="exactly_one"
            )
        return attrs


class MfaVerifySerializer(FactorSerializer):
    challenge = serializers.CharField(max_length=1000)


class ProofSerializer(FactorSerializer):
    """A proof: `password`, `auth_hash` or a second factor, a `credential` with the `challenge` that it
    answers.
    """

    password = PasswordField(required=False)
    auth_hash = AuthHashField(required=False)
    challenge = serializers.CharField(max_length=1000, required=False)
    one_of = ("password", "auth_hash", "code", "recovery_code", "credential")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("credential" in attrs) != ("challenge" in attrs):
            raise serializers.ValidationError("A credential comes with its challenge.", code="challenge")
        return super().validate(attrs)
