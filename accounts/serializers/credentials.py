"""Serializers and fields of credentials: addresses, passwords, auth hashes and second factors."""

import base64
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import EmailValidator as DjangoEmailValidator
from rest_framework import serializers

from accounts.credentials.password_validators import MAX_PASSWORD_BYTES
from accounts.credentials.zero_knowledge import AUTH_HASH_BYTES
from accounts.models import MAX_EMAIL_CHARACTERS, Kdf, User, normalise_email
from core.errors import FieldProblem, Invalid
from core.http.fields import Base64Field
from core.http.serializers import StrictSerializer


class ProfileSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True, required=False)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True, required=False)


class EmailField(serializers.CharField):
    """An e-mail address in normalised form.

    It is validated after normalisation, which can add characters such as `@` and `/`.
    """

    def __init__(self, *, required: bool = True) -> None:
        super().__init__(max_length=MAX_EMAIL_CHARACTERS, required=required)

    def to_internal_value(self, data: Any) -> str:
        email = normalise_email(super().to_internal_value(data))
        try:
            DjangoEmailValidator()(email)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages[0], code="invalid") from None
        if len(email) > MAX_EMAIL_CHARACTERS:
            detail = f"Use at most {MAX_EMAIL_CHARACTERS} characters."
            raise serializers.ValidationError(detail, code="max_length")
        return email


class PasswordField(serializers.CharField):
    """A password, exactly as it was typed."""

    def __init__(self, *, required: bool = True) -> None:
        super().__init__(
            max_length=MAX_PASSWORD_BYTES, trim_whitespace=False, write_only=True, required=required
        )


def validate_new_password(password: str, user: User) -> None:
    """Raise Invalid with the pointer `/password` when the password is too weak for this user."""
    try:
        validate_password(password, user)
    except DjangoValidationError as error:
        raise weak_password_error(error) from None


def weak_password_error(error: DjangoValidationError) -> Invalid:
    """Return the API error for Django's validation errors of a new password."""
    return Invalid(
        [FieldProblem("/password", item.code or "invalid", item.messages[0]) for item in error.error_list]
    )


class EmailSerializer(StrictSerializer):
    email = EmailField()


class AuthHashField(Base64Field):
    """The auth hash that the client of a zero-knowledge account derived from the password."""

    def __init__(self, *, required: bool = True) -> None:
        super().__init__(AUTH_HASH_BYTES, AUTH_HASH_BYTES, write_only=True, required=required)

    def to_internal_value(self, data: Any) -> str:
        return base64.b64encode(super().to_internal_value(data)).decode()


class KdfSerializer(StrictSerializer):
    algorithm = serializers.ChoiceField([Kdf.ALGORITHM])
    iterations = serializers.IntegerField(min_value=Kdf.MIN_ITERATIONS, max_value=Kdf.MAX_ITERATIONS)


class NewSecretSerializer(StrictSerializer):
    """`password`, or for zero-knowledge login `scheme: "blind"` with `kdf`, `salt` and `auth_hash`.

    In the validated data `password` is the secret to hash (the auth hash for zero-knowledge login), and `kdf`
    is a Kdf or None.
    """

    scheme = serializers.ChoiceField(User.Scheme.choices, default=User.Scheme.PASSWORD)
    password = PasswordField(required=False)
    kdf = KdfSerializer(required=False)
    salt = Base64Field(Kdf.MIN_SALT_BYTES, Kdf.MAX_SALT_BYTES, required=False)
    auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        zero_knowledge = attrs.pop("scheme") == User.Scheme.ZERO_KNOWLEDGE
        required = {"kdf", "salt", "auth_hash"}
        forbidden = {"password"}
        if not zero_knowledge:
            required, forbidden = forbidden, required
        errors = {name: ["This field is required."] for name in sorted(required - attrs.keys())}
        errors |= {
            name: ["This field does not belong to this scheme."] for name in sorted(forbidden & attrs.keys())
        }
        if errors:
            raise serializers.ValidationError(errors)
        if zero_knowledge:
            attrs["kdf"] = Kdf(attrs["kdf"]["iterations"], attrs.pop("salt"))
            attrs["password"] = attrs.pop("auth_hash")
        return {"kdf": None, **attrs}


class RegisterSerializer(NewSecretSerializer, ProfileSerializer):
    email = EmailField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if attrs["kdf"] is None:
            validate_new_password(attrs["password"], User(email=attrs["email"], name=attrs.get("name", "")))
        return attrs


class PreloginSerializer(StrictSerializer):
    email = serializers.CharField(max_length=MAX_EMAIL_CHARACTERS)


class ParametersSerializer(serializers.Serializer[Any]):
    scheme = serializers.ChoiceField(User.Scheme.choices)
    kdf = KdfSerializer()
    salt = Base64Field(Kdf.MIN_SALT_BYTES, Kdf.MAX_SALT_BYTES)


class LoginSerializer(StrictSerializer):
    """`email` with `password` or `auth_hash`, depending on the scheme that `prelogin` returns."""

    email = serializers.CharField(max_length=MAX_EMAIL_CHARACTERS)
    password = PasswordField(required=False)
    auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return extract_secret(attrs)


def extract_secret(attrs: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `attrs` with `secret` and `scheme` in place of `password` or `auth_hash`.

    Raises ValidationError unless exactly one of the two is there.
    """
    names = {User.Scheme.PASSWORD: f"{prefix}password", User.Scheme.ZERO_KNOWLEDGE: f"{prefix}auth_hash"}
    schemes = [scheme for scheme, name in names.items() if name in attrs]
    if len(schemes) != 1:
        raise serializers.ValidationError(
            f"Send exactly one of {', '.join(names.values())}.", code="exactly_one"
        )
    scheme = schemes[0]
    secret = attrs.pop(names[scheme])
    return {**attrs, "secret": secret, "scheme": scheme}


class TokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=200)


class PasswordResetSerializer(NewSecretSerializer, TokenSerializer):
    accept_vault_loss = serializers.BooleanField(
        default=False,
        help_text="With zero-knowledge login: data that the old password encrypted is permanently lost.",
    )


class PasswordChangeSerializer(NewSecretSerializer):
    current_password = PasswordField(required=False)
    current_auth_hash = AuthHashField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return extract_secret(super().validate(attrs), prefix="current_")


class FactorSerializer(StrictSerializer):
    """One second factor: `code`, `recovery_code`, or `credential` (`PublicKeyCredential.toJSON()`)."""

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
    """One proof: `password`, `auth_hash` or a second factor. A `credential` needs its `challenge`."""

    password = PasswordField(required=False)
    auth_hash = AuthHashField(required=False)
    challenge = serializers.CharField(max_length=1000, required=False)
    one_of = ("password", "auth_hash", "code", "recovery_code", "credential")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("credential" in attrs) != ("challenge" in attrs):
            raise serializers.ValidationError("A credential comes with its challenge.", code="challenge")
        return super().validate(attrs)
