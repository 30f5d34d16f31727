"""Base classes of serializers."""

from typing import Any

from rest_framework import exceptions, serializers

from core.errors import (
    FieldProblem,
    Invalid,
)
from core.text import INVISIBLE_MESSAGE, is_visible, tidy_text


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields, each with the code `unknown_field`, and texts of which nothing can be seen.

    Control characters in texts become spaces (`core.text`).
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := sorted(set(data) - writable):
                detail = exceptions.ErrorDetail("This field is not known here.", code="unknown_field")
                raise serializers.ValidationError({name: [detail] for name in unknown})
        values = super().to_internal_value(data)
        for name, field in self.fields.items():
            if field.source in values:
                try:
                    values[field.source] = _tidy_texts(field, values[field.source])
                except serializers.ValidationError as error:
                    raise serializers.ValidationError({name: error.detail}) from None
        return values


def _tidy_texts(field: Any, value: Any) -> Any:
    """Return the value of a field with its texts tidied. Raises ValidationError for an invisible one."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return [_tidy_texts(field.child, item) for item in value]
    if not isinstance(field, serializers.CharField) or not isinstance(value, str):
        return value
    if not field.trim_whitespace:  # passwords and the like are taken as they are
        return value
    if value and not is_visible(value) and not field.allow_blank:
        raise serializers.ValidationError(INVISIBLE_MESSAGE, code="blank")
    return tidy_text(value)


class BoundedListSerializer(serializers.ListSerializer[Any]):
    """A list that stops validating after `max_errors` invalid items.

    A long invalid list would otherwise produce a response that is larger than the request.
    """

    max_errors = 20

    def to_internal_value(self, data: Any) -> Any:
        self._error_count = 0
        return super().to_internal_value(data)

    def run_child_validation(self, data: Any) -> Any:
        try:
            return super().run_child_validation(data)
        except exceptions.ValidationError:
            self._error_count += 1
            if self._error_count > self.max_errors:
                raise Invalid(
                    [FieldProblem("", "many_faults", f"More than {self.max_errors} are not valid.")]
                ) from None
            raise
