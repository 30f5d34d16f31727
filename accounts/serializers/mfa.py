"""Serializers of second factors: authenticator apps, recovery codes and passkeys."""

from typing import Any

from rest_framework import serializers

from accounts.models import Passkey
from accounts.serializers.accounts import NameSerializer
from core.http.serializers import StrictSerializer


class PasskeySignInSerializer(StrictSerializer):
    challenge = serializers.CharField(max_length=1000)
    credential = serializers.DictField()


class PasskeyCreateSerializer(PasskeySignInSerializer, NameSerializer):
    pass


class CodeSerializer(StrictSerializer):
    code = serializers.RegexField(r"^[0-9 ]{6,9}\Z")


class PasskeySerializer(serializers.ModelSerializer[Passkey]):
    class Meta:
        model = Passkey
        fields = ["id", "name", "created_at", "last_used_at"]
        read_only_fields = fields


class PasskeyOptionsSerializer(serializers.Serializer[Any]):
    challenge = serializers.CharField(help_text="Send it back with the credential.")
    public_key = serializers.DictField(
        help_text="For parseCreationOptionsFromJSON or parseRequestOptionsFromJSON."
    )
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TotpSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="Base32, for typing into the app.")
    uri = serializers.CharField(help_text="otpauth://")
    qr_svg = serializers.CharField(help_text="The URI as a QR code, SVG.")


class RecoveryCodesSerializer(serializers.Serializer[Any]):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(),
        help_text="They cannot be shown again. Empty when the user has unused codes already.",
    )


class AddedPasskeySerializer(PasskeySerializer):
    recovery_codes = serializers.ListField(child=serializers.CharField())

    class Meta(PasskeySerializer.Meta):
        fields = [*PasskeySerializer.Meta.fields, "recovery_codes"]
        read_only_fields = fields


class FactorsSerializer(serializers.Serializer[Any]):
    totp = serializers.BooleanField()
    passkeys = serializers.IntegerField()
    recovery_codes = serializers.IntegerField(help_text="Number of unused codes.")
