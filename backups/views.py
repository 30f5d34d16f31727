"""Backups over HTTP: for staff all of them, for an owner the moments that a site can be brought back to."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit import actors
from backups import selectors
from backups.models import BackupRun, Check, SiteRestore
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
        """Backups, newest first."""
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
        """Take a backup now. One that waits already is the answer."""
        given = self.validated(BackupCreateSerializer)
        run = runs.queue_run(actor=actors.user(self.caller), full=given["full"])
        return Response(
            BackupSerializer(run).data, status=202, headers={"Location": f"/api/v1/backups/{run.pk}"}
        )

    @action_policy(
        scope=BACKUPS_READ, role=BACKUPS_READ, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="backup", responses=BackupDetailSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """A backup, with the looks at it."""
        return Response(BackupDetailSerializer(self.get_object()).data)

    @action_policy(
        scope=BACKUPS_READ, role=BACKUPS_READ, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="backups_overview", responses=OverviewSerializer)
    def overview(self, request: Request) -> Response:
        """Whether the backups are well, and what the next pruning takes away."""
        return Response(OverviewSerializer(selectors.overview(now=timezone.now())).data)

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
        """Read everything that a backup needs, and open it."""
        return self._look(Check.Kind.VERIFY)

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
        """Prove a backup: restore it into a database made for that, and compare."""
        return self._look(Check.Kind.DRILL)

    def _look(self, kind: str) -> Response:
        look = checks.queue_check(self.get_object(), kind, actor=actors.user(self.caller))
        return Response(CheckSerializer(look).data, status=202)


class RestorePointViewSet(SiteScopedViewSet):
    serializer_class = RestorePointSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_restore_points", responses=RestorePointSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """The moments that your site can be brought back to, newest first."""
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
        """A moment to come back to, of now.

        One of the last quarter of an hour, or one that is being made, is the answer.
        """
        self.site()
        point = site_restores.ask_for_point(site_id=self.kwargs["pk"], actor=self.actor, now=timezone.now())
        return Response(RestorePointSerializer(point).data, status=202)

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
        """Bring your site back as it was then: as a new draft beside the one that is there now, which stays
        as it is.
        """
        site = self.site()
        run = get_object_or_404(site_restores.restore_points(site), pk=point)
        asked = site_restores.queue_restore(site.pk, run, actor=self.actor)
        return Response(SiteRestoreSerializer(asked).data, status=202)

    @action_policy(scope=SITES_READ, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_site_restores", responses=SiteRestoreSerializer(many=True))
    def restores(self, request: Request, pk: Any) -> Response:
        """What became of the times that you brought this site back, newest first."""
        page = self.paginate_queryset(SiteRestore.objects.filter(site_id=self.site().pk))
        return self.get_paginated_response(SiteRestoreSerializer(page, many=True).data)
