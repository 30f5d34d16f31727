"""Serializers of the backup endpoints."""

from typing import Any

from rest_framework import serializers

from backups.models import BackupRun, Check, SiteRestore
from core.http.serializers import StrictSerializer


class CheckSerializer(serializers.ModelSerializer[Check]):
    class Meta:
        model = Check
        fields = ["id", "kind", "status", "result", "error", "created_at", "finished_at"]
        read_only_fields = fields


class BackupSerializer(serializers.ModelSerializer[BackupRun]):
    class Meta:
        model = BackupRun
        fields = [
            "id",
            "status",
            "kind",
            "full",
            "provable",
            "taken_at",
            "rows",
            "read_bytes",
            "shipped_bytes",
            "stored_bytes",
            "chain",
            "seconds",
            "waited_seconds",
            "warning",
            "error",
            "verified_at",
            "proven_at",
            "pruned_at",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields


class BackupDetailSerializer(BackupSerializer):
    checks: Any = CheckSerializer(many=True, read_only=True)

    class Meta(BackupSerializer.Meta):
        fields = [*BackupSerializer.Meta.fields, "checks"]
        read_only_fields = fields


class BackupCreateSerializer(StrictSerializer):
    full = serializers.BooleanField(default=False)


class OverviewSerializer(serializers.Serializer[Any]):
    """The state of the backups, and what the next pruning deletes."""

    newest_good_at = serializers.DateTimeField(allow_null=True)
    newest_proven_at = serializers.DateTimeField(allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField())
    readable_here = serializers.BooleanField(
        help_text="Whether this server has a key that opens its backups."
    )
    prunes = serializers.ListField(
        child=serializers.UUIDField(), help_text="Backups that the retention policy no longer keeps."
    )


class RestorePointSerializer(serializers.ModelSerializer[BackupRun]):
    class Meta:
        model = BackupRun
        fields = ["id", "status", "taken_at", "proven_at"]
        read_only_fields = fields


class SiteRestoreSerializer(serializers.ModelSerializer[SiteRestore]):
    restore_point: Any = serializers.UUIDField(source="run_id", read_only=True)
    site: Any = serializers.UUIDField(
        source="made_id", read_only=True, allow_null=True, help_text="The new draft, once it exists."
    )

    class Meta:
        model = SiteRestore
        fields = ["id", "status", "restore_point", "site", "created_at", "finished_at"]
        read_only_fields = fields
