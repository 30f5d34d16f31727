"""A site's numbers for staff. Looking at them is recorded, as at any record of a customer."""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from analytics.models import Board
from analytics.reports import dashboard
from audit import actors
from audit.admin import ReadOnlyAdmin
from audit.services import record


@admin.register(Board)
class BoardAdmin(ReadOnlyAdmin):
    list_display = ("name", "subdomain", "status", "owner")
    list_filter = ("status",)
    search_fields = ("name", "subdomain")
    list_select_related = ("owner",)
    ordering = ("-id",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> Any:
        return Board.objects.filter(deleted_at=None)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The dashboard in place of a form."""
        site = self.get_object(request, object_id)
        if site is None or not self.has_view_permission(request, site):
            raise Http404
        now = timezone.now()
        record("admin.viewed", actor=actors.staff(request.user), subject=site)
        facts = dashboard.dashboard(dashboard.read(request, site, now=now), site, now=now)
        return render(
            request,
            "admin/board.html",
            {
                **self.admin_site.each_context(request),
                "title": f"Analytics of {site.name}",
                "opts": self.opts,
                **facts,
            },
        )
