"""Serializers of audit entries and log lines."""

import json
from typing import Any

from rest_framework import serializers

from audit.models import Entry, LogLine
from audit.selectors import hidden_fields


class EntrySerializer(serializers.ModelSerializer[Entry]):
    """An entry as `context["reader"]` may see it: the id of a user, or None for staff with `audit.read`."""

    actor = serializers.SerializerMethodField(help_text="Kind, id, and label; the label is null once erased.")
    subject = serializers.SerializerMethodField(
        help_text="Type, id, and label; the label is null once erased."
    )
    site = serializers.UUIDField(source="site_id", allow_null=True, read_only=True)
    facts = serializers.SerializerMethodField()
    personal = serializers.SerializerMethodField(
        help_text="Personal values by field; null once erased. `network` is left out for the acts of others."
    )

    class Meta:
        model = Entry
        fields = [
            "id",
            "event",
            "actor",
            "subject",
            "site",
            "session_id",
            "request_id",
            "facts",
            "personal",
            "created_at",
        ]
        read_only_fields = fields

    def get_actor(self, entry: Entry) -> dict[str, Any]:
        return {"kind": entry.actor_kind, "id": entry.actor_id, "label": self._values(entry).get("actor")}

    def get_subject(self, entry: Entry) -> dict[str, Any]:
        return {"type": entry.subject_type, "id": entry.subject_id, "label": self._values(entry).get("label")}

    def get_facts(self, entry: Entry) -> dict[str, Any]:
        return dict(json.loads(entry.facts))

    def get_personal(self, entry: Entry) -> dict[str, str | None]:
        values = self._values(entry)
        left_out = {"actor", "label"} | hidden_fields(entry, self.context["reader"])
        return {field: values.get(field) for field in json.loads(entry.personal) if field not in left_out}

    def _values(self, entry: Entry) -> dict[str, str]:
        """The view reads the personal values of a whole page in one query and passes them in the context."""
        return dict(self.context["personal"].get(entry.pk, {}))


class LogLineSerializer(serializers.ModelSerializer[LogLine]):
    timestamp = serializers.DateTimeField(source="created_at", read_only=True)

    class Meta:
        model = LogLine
        fields = ["id", "level", "message", "timestamp", "logger", "request_id"]
        read_only_fields = fields
