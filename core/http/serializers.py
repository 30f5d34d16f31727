"""Base classes of serializers."""

from typing import Any

from rest_framework import exceptions, serializers

from core.errors import (
    FieldProblem,
    Invalid,
)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields: each is an error with the code `unknown_field`."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := sorted(set(data) - writable):
                detail = exceptions.ErrorDetail("This field is not known here.", code="unknown_field")
                raise serializers.ValidationError({name: [detail] for name in unknown})
        return super().to_internal_value(data)


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
