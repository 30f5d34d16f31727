"""Shows the dashboards of sites to staff. Each view is recorded in the audit log."""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from analytics.models import Board
from analytics.reports.dashboard import build_dashboard_context, parse_dashboard_state
from audit import actors
from audit.model_admin import ReadOnlyAdmin
from audit.services import record


@admin.register(Board)
class DashboardAdmin(ReadOnlyAdmin):
    """Lists sites; the page of a site is its dashboard."""

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
        """Show the dashboard instead of a form. Raises Http404."""
        site = self.get_object(request, object_id)
        if site is None or not self.has_view_permission(request, site):
            raise Http404
        now = timezone.now()
        record("admin.viewed", actor=actors.staff(request.user), subject=site)
        state = parse_dashboard_state(request, site, now=now)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Analytics of {site.name}",
            "opts": self.opts,
            **build_dashboard_context(state, site, now=now),
        }
        return render(request, "analytics/admin_dashboard.html", context)
