"""The shape of envelopes at the boundary: base64, strict sizes."""

from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework import serializers

from accounts.serializers.credentials import PasswordChangeSerializer
from core.http.fields import Base64Field
from core.http.serializers import BoundedListSerializer, StrictSerializer
from vault.models import (
    ALGORITHM,
    IV_BYTES,
    MAX_CIPHERTEXT_BYTES,
    MAX_SALT_BYTES,
    MAX_VAULT_RECORD_BYTES,
    MAX_VAULTS_PER_OWNER,
    MIN_SALT_BYTES,
    FormerVersion,
    Item,
    Vault,
)
from vault.services import EnvelopeData

MAX_VERSION = 2**31 - 1


def no_nil(found: UUID) -> None:
    """Raise ValidationError for the id of 128 zeros: it stands for a vault's own record in the associated
    data.
    """
    if not found.int:
        raise serializers.ValidationError("This id has a meaning of its own.", code="nil")


class SealedSerializer(StrictSerializer):
    """An envelope. `version` is the one before plus one: it is authenticated together with the ids."""

    ciphertext = Base64Field(16, MAX_CIPHERTEXT_BYTES, help_text="With the 16 bytes of the tag at its end.")
    iv = Base64Field(IV_BYTES, IV_BYTES)
    salt = Base64Field(MIN_SALT_BYTES, MAX_SALT_BYTES)
    version = serializers.IntegerField(min_value=1, max_value=MAX_VERSION)
    alg = serializers.ChoiceField([ALGORITHM], default=ALGORITHM)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        names = EnvelopeData.__slots__
        rest = {name: value for name, value in attrs.items() if name not in names}
        return {**rest, "sealed": EnvelopeData(**{name: attrs[name] for name in names})}


class RecordSerializer(SealedSerializer):
    """A vault's own record."""

    ciphertext = Base64Field(16, MAX_VAULT_RECORD_BYTES)


class NewVaultSerializer(RecordSerializer):
    vault_id = serializers.UUIDField(validators=[no_nil])

    class Meta:
        list_serializer_class = BoundedListSerializer


class NewItemSerializer(SealedSerializer):
    item_id = serializers.UUIDField(validators=[no_nil])

    class Meta:
        list_serializer_class = BoundedListSerializer


class RotationSerializer(RecordSerializer):
    """The vault's own record and every item, sealed with the new key."""

    # Of the list that it makes.
    items = NewItemSerializer(many=True, max_length=settings.VAULT_ITEMS)  # type: ignore[call-arg]


class NewPasswordSerializer(PasswordChangeSerializer):
    """The new secret of a blind account, and its vaults' own records sealed anew."""

    vaults = NewVaultSerializer(many=True, max_length=MAX_VAULTS_PER_OWNER)  # type: ignore[call-arg]  # the same

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if attrs["kdf"] is None:
            raise serializers.ValidationError({"scheme": ["Vaults need a blind account."]})
        return attrs


ENVELOPE = ["ciphertext", "iv", "salt", "alg", "version"]


class EnvelopeSerializer(serializers.ModelSerializer[Any]):
    ciphertext = Base64Field(0, MAX_CIPHERTEXT_BYTES)
    iv = Base64Field(IV_BYTES, IV_BYTES)
    salt = Base64Field(MIN_SALT_BYTES, MAX_SALT_BYTES)


class HeadSerializer(serializers.ModelSerializer[Any]):
    """What lists show: everything but the envelope, which may be large."""

    size = serializers.IntegerField(help_text="Bytes of ciphertext.")


class VaultHeadSerializer(HeadSerializer):
    class Meta:
        model = Vault
        fields = ["vault_id", "version", "size", "created_at", "updated_at", "deleted_at"]
        read_only_fields = fields


class ItemHeadSerializer(HeadSerializer):
    class Meta:
        model = Item
        fields = ["item_id", "version", "size", "created_at", "updated_at", "deleted_at"]
        read_only_fields = fields


class VaultSerializer(EnvelopeSerializer):
    class Meta:
        model = Vault
        fields = ["vault_id", *ENVELOPE, "created_at", "updated_at"]
        read_only_fields = fields


class CreatedVaultSerializer(serializers.ModelSerializer[Vault]):
    class Meta:
        model = Vault
        fields = ["vault_id", "created_at", "version"]
        read_only_fields = fields


class ItemSerializer(EnvelopeSerializer):
    class Meta:
        model = Item
        fields = ["item_id", *ENVELOPE, "created_at", "updated_at", "deleted_at"]
        read_only_fields = fields


class FormerVersionSerializer(EnvelopeSerializer):
    class Meta:
        model = FormerVersion
        fields = [*ENVELOPE, "created_at"]
        read_only_fields = fields


class ChangeSerializer(EnvelopeSerializer):
    """A vault, or an item where there is an `item_id`. What is `deleted` has no ciphertext here."""

    vault_id = serializers.UUIDField()
    item_id = serializers.UUIDField(allow_null=True)
    deleted = serializers.BooleanField()
    ciphertext = Base64Field(0, MAX_CIPHERTEXT_BYTES, source="shown")

    class Meta:
        model = Item
        fields = ["vault_id", "item_id", "deleted", *ENVELOPE, "updated_at"]
        read_only_fields = fields

    def to_representation(self, row: Any) -> dict[str, Any]:
        row.deleted = row.deleted_at is not None
        if isinstance(row, Item):
            # Annotated: the id that its client knows.
            row.vault_id = row.in_vault  # type: ignore[attr-defined]
        else:
            row.item_id = None
        return super().to_representation(row)


class VectorsSerializer(serializers.Serializer[Any]):
    about = serializers.CharField()
    derivation = serializers.ListField(child=serializers.DictField())
    envelopes = serializers.ListField(child=serializers.DictField())


class ChangesSerializer(serializers.Serializer[Any]):
    results = ChangeSerializer(many=True)
    cursor = serializers.CharField(help_text="Send it as `since` next time.")
    more = serializers.BooleanField(help_text="There is more: ask again at once.")
