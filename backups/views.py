"""Backup endpoints: all backups for staff, and for the owner of a site its restore points."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit import actors
from backups import selectors
from backups.models import BackupRun, Check
from backups.permissions import BACKUPS_READ, BACKUPS_WRITE
from backups.serializers import (
    BackupCreateSerializer,
    BackupDetailSerializer,
    BackupSerializer,
    CheckSerializer,
    OverviewSerializer,
    RestorePointSerializer,
    SiteRestoreSerializer,
)
from backups.services import checks, runs, site_restores
from core.http.action_policy import action_policy
from core.http.pagination import KeysetPagination
from core.http.viewsets import ApiViewSet
from sites.models import Access
from sites.permissions import SITES_READ, SITES_WRITE
from sites.viewsets import Role, SiteScopedViewSet

OWNER = Access.Role.OWNER


class BackupViewSet(ApiViewSet):
    serializer_class = BackupSerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> QuerySet[BackupRun]:
        return (
            BackupRun.objects.prefetch_related("checks")
            if self.action == "retrieve"
            else BackupRun.objects.all()
        )

    @action_policy(
        scope=BACKUPS_READ, role=BACKUPS_READ, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="list_backups", responses=BackupSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List backups, newest first."""
        return self.get_paginated_response(
            BackupSerializer(self.paginate_queryset(self.get_queryset()), many=True).data
        )

    @action_policy(
        scope=BACKUPS_WRITE, role=BACKUPS_WRITE, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="create_backup", request=BackupCreateSerializer, responses={202: BackupSerializer}
    )
    def create(self, request: Request) -> Response:
        """Start a backup. If one is already queued, it is returned."""
        data = self.validated(BackupCreateSerializer)
        run = runs.queue_run(actor=actors.user(self.caller), full=data["full"])
        return Response(
            BackupSerializer(run).data, status=202, headers={"Location": f"/api/v1/backups/{run.pk}"}
        )

    @action_policy(
        scope=BACKUPS_READ, role=BACKUPS_READ, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="backup", responses=BackupDetailSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Return a backup with its checks."""
        return Response(BackupDetailSerializer(self.get_object()).data)

    @action_policy(
        scope=BACKUPS_READ, role=BACKUPS_READ, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="backups_overview", responses=OverviewSerializer)
    def overview(self, request: Request) -> Response:
        """Return the state of the backups, and what the next pruning deletes."""
        return Response(OverviewSerializer(selectors.backup_overview(now=timezone.now())).data)

    @action_policy(
        scope=BACKUPS_WRITE,
        role=BACKUPS_WRITE,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="verify_backup", request=None, responses={202: CheckSerializer})
    def verify(self, request: Request, pk: Any) -> Response:
        """Read and decrypt everything that a backup needs. An open check is returned instead of a new one."""
        return self._queue_check(Check.Kind.VERIFY)

    @action_policy(
        scope=BACKUPS_WRITE,
        role=BACKUPS_WRITE,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="drill_backup", request=None, responses={202: CheckSerializer})
    def drill(self, request: Request, pk: Any) -> Response:
        """Prove a backup: restore it into a temporary database and compare the content."""
        return self._queue_check(Check.Kind.DRILL)

    def _queue_check(self, kind: str) -> Response:
        check = checks.queue_check(self.get_object(), kind, actor=actors.user(self.caller))
        return Response(CheckSerializer(check).data, status=202)


class RestorePointViewSet(SiteScopedViewSet):
    serializer_class = RestorePointSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_restore_points", responses=RestorePointSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the backups that your site can be restored from, newest first."""
        page = self.paginate_queryset(site_restores.restore_points(self.site()))
        return self.get_paginated_response(RestorePointSerializer(page, many=True).data)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.OWNER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="create_restore_point", request=None, responses={202: RestorePointSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Return a restore point that has your site as it is now, and start a backup if that is needed.

        Owners can start a backup only as often as one is taken by the schedule. Otherwise the answer is 409
        with the code `restore_point_later`, and `next_at` is the time of the next backup.
        """
        self.site()
        restore_point = site_restores.request_restore_point(
            site_id=self.kwargs["pk"], actor=self.actor, now=timezone.now()
        )
        return Response(RestorePointSerializer(restore_point).data, status=202)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.OWNER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(
        operation_id="restore_site_as_it_was", request=None, responses={202: SiteRestoreSerializer}
    )
    def restore(self, request: Request, pk: Any, point: Any) -> Response:
        """Restore your site as a new draft. The existing site is not changed."""
        site = self.site()
        run = get_object_or_404(site_restores.restore_points(site), pk=point)
        site_restore = site_restores.queue_site_restore(site.pk, run, actor=self.actor)
        return Response(SiteRestoreSerializer(site_restore).data, status=202)

    @action_policy(scope=SITES_READ, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_site_restores", responses=SiteRestoreSerializer(many=True))
    def restores(self, request: Request, pk: Any) -> Response:
        """List the restores of your site and their results, newest first."""
        page = self.paginate_queryset(site_restores.restores_of(self.site()))
        return self.get_paginated_response(SiteRestoreSerializer(page, many=True).data)
