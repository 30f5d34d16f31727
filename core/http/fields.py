"""Fields of the API that every app may need."""

import base64
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


@extend_schema_field({"type": "string", "contentEncoding": "base64"})
class Base64Field(serializers.Field[Any, Any, Any, Any]):
    """Bytes in base64 (RFC 4648, section 4, with padding), `least` to `most` of them.

    No CharField: its validators look at each character of a megabyte in Python.
    """

    def __init__(self, least: int, most: int, **options: Any) -> None:
        self.least = least
        self.most = most
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> Any:
        text = data if isinstance(data, str) and len(data) <= (self.most + 2) // 3 * 4 else "-"
        try:
            found = base64.b64decode(text, validate=True)
        except ValueError:
            found = None
        if (
            found is None
            or base64.b64encode(found) != text.encode()
            or not self.least <= len(found) <= self.most
        ):
            size = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
            raise serializers.ValidationError(f"Send {size} bytes in base64.", code="base64")
        return found

    def to_representation(self, value: Any) -> str:
        return base64.b64encode(value).decode()
