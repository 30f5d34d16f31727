"""Serializers of envelopes: base64 with strict sizes."""

from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework import serializers

from accounts.serializers.credentials import PasswordChangeSerializer
from core.http.fields import Base64Field
from core.http.serializers import BoundedListSerializer, StrictSerializer
from vault.envelopes import ENVELOPE_FIELDS, EnvelopeData
from vault.models import (
    ALGORITHM,
    IV_BYTES,
    MAX_CIPHERTEXT_BYTES,
    MAX_SALT_BYTES,
    MAX_VAULT_RECORD_BYTES,
    MAX_VAULTS_PER_OWNER,
    MIN_SALT_BYTES,
    TAG_BYTES,
    FormerVersion,
    Item,
    Vault,
)

MAX_VERSION = 2**31 - 1  # PostgreSQL integer


def refuse_nil_uuid(value: UUID) -> None:
    """Validator that refuses the nil UUID (RFC 9562, section 5.9).

    In the associated data of an envelope it takes the place of the item id of a vault's own record.
    """
    if not value.int:
        raise serializers.ValidationError("The nil UUID is reserved.", code="nil")


class SealedSerializer(StrictSerializer):
    """An envelope. `version` is the previous version plus one, and is authenticated with the ids."""

    ciphertext = Base64Field(
        TAG_BYTES, MAX_CIPHERTEXT_BYTES, help_text="Ciphertext with the 16 bytes of the tag at its end."
    )
    iv = Base64Field(IV_BYTES, IV_BYTES)
    salt = Base64Field(MIN_SALT_BYTES, MAX_SALT_BYTES)
    version = serializers.IntegerField(min_value=1, max_value=MAX_VERSION)
    alg = serializers.ChoiceField([ALGORITHM], default=ALGORITHM)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Replace the fields of the envelope by one `EnvelopeData` under the key `envelope`."""
        other_fields = {name: value for name, value in attrs.items() if name not in ENVELOPE_FIELDS}
        envelope = EnvelopeData(**{name: attrs[name] for name in ENVELOPE_FIELDS})
        return {**other_fields, "envelope": envelope}


class RecordSerializer(SealedSerializer):
    """The own record of a vault."""

    ciphertext = Base64Field(TAG_BYTES, MAX_VAULT_RECORD_BYTES)


class NewVaultSerializer(RecordSerializer):
    vault_id = serializers.UUIDField(validators=[refuse_nil_uuid])

    class Meta:
        list_serializer_class = BoundedListSerializer


class NewItemSerializer(SealedSerializer):
    item_id = serializers.UUIDField(validators=[refuse_nil_uuid])

    class Meta:
        list_serializer_class = BoundedListSerializer


class RotationSerializer(RecordSerializer):
    """The own record of a vault and every item, encrypted with the new key."""

    # `max_length` is an argument of the list serializer that `many=True` creates.
    items = NewItemSerializer(many=True, max_length=settings.VAULT_ITEMS)  # type: ignore[call-arg]


class NewPasswordSerializer(PasswordChangeSerializer):
    """The new secret of a blind account, and the own records of its vaults re-encrypted."""

    # `max_length` is an argument of the list serializer that `many=True` creates.
    vaults = NewVaultSerializer(many=True, max_length=MAX_VAULTS_PER_OWNER)  # type: ignore[call-arg]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if attrs["kdf"] is None:
            raise serializers.ValidationError(
                {"scheme": ["Vaults need a blind account, whose password the server never sees."]}
            )
        return attrs


class EnvelopeSerializer(serializers.ModelSerializer[Any]):
    ciphertext = Base64Field(0, MAX_CIPHERTEXT_BYTES)
    iv = Base64Field(IV_BYTES, IV_BYTES)
    salt = Base64Field(MIN_SALT_BYTES, MAX_SALT_BYTES)


class HeadSerializer(serializers.ModelSerializer[Any]):
    """A row of a list: without the envelope, which can be large."""

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
        fields = ["vault_id", *ENVELOPE_FIELDS, "created_at", "updated_at"]
        read_only_fields = fields


class CreatedVaultSerializer(serializers.ModelSerializer[Vault]):
    class Meta:
        model = Vault
        fields = ["vault_id", "created_at", "version"]
        read_only_fields = fields


class ItemSerializer(EnvelopeSerializer):
    class Meta:
        model = Item
        fields = ["item_id", *ENVELOPE_FIELDS, "created_at", "updated_at", "deleted_at"]
        read_only_fields = fields


class FormerVersionSerializer(EnvelopeSerializer):
    class Meta:
        model = FormerVersion
        fields = [*ENVELOPE_FIELDS, "created_at"]
        read_only_fields = fields


class ChangeSerializer(EnvelopeSerializer):
    """A changed vault, or a changed item when `item_id` is set.

    Deleted rows have an empty ciphertext.
    """

    vault_id = serializers.UUIDField()
    item_id = serializers.UUIDField(allow_null=True)
    deleted = serializers.BooleanField()
    ciphertext = Base64Field(0, MAX_CIPHERTEXT_BYTES, source="shown")

    class Meta:
        model = Item
        fields = ["vault_id", "item_id", "deleted", *ENVELOPE_FIELDS, "updated_at"]
        read_only_fields = fields

    def to_representation(self, row: Any) -> dict[str, Any]:
        row.deleted = row.deleted_at is not None
        if isinstance(row, Item):
            # `changes_since` annotates the vault id that the client chose.
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
    cursor = serializers.CharField(help_text="Send it as `since` to get the next changes.")
    more = serializers.BooleanField(help_text="Whether further changes are available now.")
