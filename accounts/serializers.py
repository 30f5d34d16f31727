"""The shape of accounts at the boundary."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import EmailValidator as DjangoEmailValidator
from rest_framework import serializers

from accounts.models import User, normalise_email
from accounts.passwords import MAX_BYTES
from core.api import StrictSerializer


class UserSerializer(serializers.ModelSerializer[User]):
    roles: Any = serializers.SlugRelatedField(slug_field="name", many=True, read_only=True)

    class Meta:
        model = User
        fields = ["id", "email", "name", "age", "roles", "version", "created_at", "updated_at"]
        read_only_fields = fields


class ProfileSerializer(StrictSerializer):
    name = serializers.CharField(max_length=120, allow_blank=True, required=False)
    age = serializers.IntegerField(min_value=0, max_value=150, allow_null=True, required=False)


class RegisterSerializer(ProfileSerializer):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=MAX_BYTES, trim_whitespace=False, write_only=True)

    def validate_email(self, value: str) -> str:
        """The one spelling of the address, which must be an address itself: normalising can add an `@` or a `/`."""
        email = normalise_email(value)
        try:
            DjangoEmailValidator()(email)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages[0], code="invalid") from None
        if len(email) > 254:
            raise serializers.ValidationError("Use at most 254 characters.", code="max_length")
        return email

    def validate_password(self, value: str) -> str:
        try:
            validate_password(value)
        except DjangoValidationError as error:
            raise serializers.ValidationError(
                [serializers.ErrorDetail(item.messages[0], item.code) for item in error.error_list]
            ) from None
        return value


class LoginSerializer(StrictSerializer):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=MAX_BYTES, trim_whitespace=False, write_only=True)


class AccessSerializer(serializers.Serializer[Any]):
    access = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class SignedInSerializer(AccessSerializer):
    user = UserSerializer()


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
