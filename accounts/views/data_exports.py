"""Views to request and download an archive of the caller's personal data."""

from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.responses import NO_STORE
from accounts.serializers.accounts import ExportSerializer
from accounts.services import data_exports
from core.errors import NotFound, Unavailable
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.viewsets import ApiViewSet
from core.storage.object_store import ObjectStoreUnavailable


class ExportViewSet(ApiViewSet):
    serializer_class = ExportSerializer

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="request_export", request=None, responses={202: ExportSerializer})
    def create(self, request: Request) -> Response:
        """Request an archive of your personal data. You get a mail when it is ready; at most five a day."""
        export = data_exports.request_export(self.caller.row(), now=timezone.now())
        return Response(ExportSerializer(export).data, status=202, headers=NO_STORE)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="export", responses=ExportSerializer)
    def retrieve(self, request: Request) -> Response:
        """Get the newest archive. When ready, `link` is set: your access token downloads it for 24 hours."""
        user: User = self.caller.row()
        newest = user.exports.first()
        if newest is None:
            raise NotFound
        return Response(ExportSerializer(newest).data, headers=NO_STORE)


class ArchiveViewSet(ApiViewSet):
    serializer_class = ExportSerializer

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="archive",
        responses={(200, "application/zip"): OpenApiResponse(OpenApiTypes.BINARY, description="A ZIP file")},
    )
    def retrieve(self, request: Request, token: str) -> Any:
        """Download your own archive. A link of another user is answered like one that does not exist."""
        try:
            export, parts = data_exports.open_export(self.caller.row(), token, now=timezone.now())
        except ObjectStoreUnavailable:
            raise Unavailable from None
        name = f"my-data-{export.created_at:%Y-%m-%d}.zip"
        headers = {
            **NO_STORE,
            "Content-Length": str(export.size),
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        return StreamingHttpResponse(parts, content_type="application/zip", headers=headers)
