"""Fields of the API that every app may need."""

import base64
from typing import Any

from rest_framework import serializers


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
