"""Base classes of serializers: unknown fields are refused, and a long invalid list gives a short answer."""

from typing import Any

from rest_framework import exceptions, serializers

from core.errors import (
    FieldProblem,
    Invalid,
)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know, with a pointer to each."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := sorted(set(data) - writable):
                detail = exceptions.ErrorDetail("This field is not known here.", code="unknown_field")
                raise serializers.ValidationError({name: [detail] for name in unknown})
        return super().to_internal_value(data)


class BoundedListSerializer(serializers.ListSerializer[Any]):
    """A list whose answer to nonsense stays small: after some faults it says so and looks no further."""

    most_faults = 20

    def to_internal_value(self, data: Any) -> Any:
        self._faults = 0
        return super().to_internal_value(data)

    def run_child_validation(self, data: Any) -> Any:
        try:
            return super().run_child_validation(data)
        except exceptions.ValidationError:
            self._faults += 1
            if self._faults > self.most_faults:
                raise Invalid(
                    [FieldProblem("", "many_faults", f"More than {self.most_faults} are not valid.")]
                ) from None
            raise
