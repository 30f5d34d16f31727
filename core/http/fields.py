"""Serializer fields that several apps use."""

import base64
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.errors import TextRefused
from core.times import parse_time


class TimeField(serializers.DateTimeField):
    """A time with an offset (RFC 3339), see `core.times`."""

    def to_internal_value(self, value: Any) -> Any:
        try:
            return parse_time(value if isinstance(value, str) else "")
        except TextRefused as refusal:
            raise serializers.ValidationError(str(refusal), code="time_refused") from None


@extend_schema_field({"type": "string", "contentEncoding": "base64"})
class Base64Field(serializers.Field[Any, Any, Any, Any]):
    """Bytes in base64 with padding (RFC 4648 section 4), `min_bytes` to `max_bytes` of them.

    This is not a CharField, because the validators of CharField run Python code for each character, and a
    value may have a megabyte.
    """

    def __init__(
        self,
        min_bytes: int,
        max_bytes: int,
        *,
        required: bool = True,
        write_only: bool = False,
        source: str | None = None,
        help_text: str | None = None,
    ) -> None:
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        super().__init__(required=required, write_only=write_only, source=source, help_text=help_text)

    def to_internal_value(self, data: Any) -> Any:
        max_characters = (self.max_bytes + 2) // 3 * 4
        text = data if isinstance(data, str) and len(data) <= max_characters else "-"
        try:
            decoded = base64.b64decode(text, validate=True)
        except ValueError:
            raise self._invalid() from None
        # b64decode ignores the unused bits of the last character; the comparison accepts one spelling only.
        if base64.b64encode(decoded) != text.encode():
            raise self._invalid()
        if not self.min_bytes <= len(decoded) <= self.max_bytes:
            raise self._invalid()
        return decoded

    def to_representation(self, value: Any) -> str:
        return base64.b64encode(value).decode()

    def _invalid(self) -> serializers.ValidationError:
        size = str(self.min_bytes)
        if self.min_bytes != self.max_bytes:
            size = f"{self.min_bytes} to {self.max_bytes}"
        return serializers.ValidationError(f"Send {size} bytes in base64.", code="base64")
