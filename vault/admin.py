"""Admin page of vaults: the usage of each owner. Envelopes are not shown."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from audit.model_admin import AuditedAdmin, ReadOnlyAdmin
from audit.subjects import Subject
from vault.models import Holder, Vault


@admin.register(Holder)
class HolderAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = ("owner", "vaults", "items", "stored", "sequence")
    list_select_related = ("owner",)
    search_fields = ("owner__email",)
    ordering = ("-size",)
    fields = ("owner", "vaults", "items", "stored", "sequence")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Holder]:
        vaults = Vault.objects.filter(owner=OuterRef("owner"), deleted_at=None).order_by().values("owner")
        count = Subquery(vaults.annotate(count=Count("pk")).values("count"), output_field=IntegerField())
        rows: QuerySet[Holder] = super().get_queryset(request)
        return rows.annotate(vaults=Coalesce(count, 0))

    def subject_of(self, obj: Holder) -> Subject:  # type: ignore[override]
        return Subject("vault_holder", obj.pk, owner_id=obj.owner_id)

    @admin.display(description="vaults", ordering="vaults")
    def vaults(self, holder: Any) -> int:
        count: int = holder.vaults
        return count

    @admin.display(description="stored", ordering="size")
    def stored(self, holder: Holder) -> str:
        return filesizeformat(holder.size)
