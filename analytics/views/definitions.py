"""What a site's people save, over HTTP: goals, segments, funnels, annotations, links, and the mail on
Mondays.
"""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from analytics import services
from analytics.models import Annotation, Definition, Share, Subscription
from analytics.permissions import ANALYTICS_READ
from analytics.reports.query_params import RANGE, known, read_query
from analytics.serializers.definitions import (
    AnnotationCreateSerializer,
    AnnotationSerializer,
    DefinitionSerializer,
    FunnelSerializer,
    ShareCreateSerializer,
    ShareSerializer,
    SubscriptionSerializer,
)
from analytics.sharing import links
from core.http.action_policy import action_policy
from core.http.pagination import KeysetPagination
from sites.viewsets import Role, SiteScopedViewSet

READERS_AND_EDITORS = {
    "list": Role.VIEWER,
    "create": Role.EDITOR,
    "retrieve": Role.VIEWER,
    "partial_update": Role.EDITOR,
    "destroy": Role.EDITOR,
}


class DefinitionViewSet(SiteScopedViewSet):
    """Goals, segments and funnels are the same thing with another meaning."""

    kind: ClassVar[Definition.Kind]
    serializer_class: type[DefinitionSerializer] = DefinitionSerializer
    pagination_class = KeysetPagination

    def row(self) -> Definition:
        return get_object_or_404(
            Definition, site=self.site(), kind=self.kind, pk=self.kwargs[self.kind.value]
        )

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    def list(self, request: Request, pk: Any) -> Response:
        """All that were saved, newest first."""
        page = self.paginate_queryset(Definition.objects.filter(site=self.site(), kind=self.kind))
        return self.get_paginated_response(self.serializer_class(page, many=True).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    def create(self, request: Request, pk: Any) -> Response:
        """Save one. It holds for days before, too: nothing is counted ahead."""
        given = self.validated(self.serializer_class)
        site = self.site()
        made = services.save_definition(site, self.kind, given, actor=self.actor)
        return Response(self.serializer_class(made).data, status=201)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    def retrieve(self, request: Request, pk: Any, **which: Any) -> Response:
        """One of them."""
        return Response(self.serializer_class(self.row()).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    def partial_update(self, request: Request, pk: Any, **which: Any) -> Response:
        """Another name, or other conditions."""
        given = self.validated(self.serializer_class, partial=True)
        row = services.change_definition(self.row(), given, actor=self.actor)
        return Response(self.serializer_class(row).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    def destroy(self, request: Request, pk: Any, **which: Any) -> Response:
        """Forget it. What was counted stays."""
        services.remove(self.row(), actor=self.actor)
        return Response(status=204)


def _described(one: str, serializer: type[DefinitionSerializer]) -> Any:
    return extend_schema_view(
        list=extend_schema(operation_id=f"list_{one}s", responses=serializer(many=True)),
        create=extend_schema(operation_id=f"create_{one}", request=serializer, responses={201: serializer}),
        retrieve=extend_schema(operation_id=f"read_{one}", responses=serializer),
        partial_update=extend_schema(operation_id=f"change_{one}", request=serializer, responses=serializer),
        destroy=extend_schema(operation_id=f"delete_{one}", responses={204: None}),
    )


@_described("goal", DefinitionSerializer)
class GoalViewSet(DefinitionViewSet):
    kind = Definition.Kind.GOAL


@_described("segment", DefinitionSerializer)
class SegmentViewSet(DefinitionViewSet):
    kind = Definition.Kind.SEGMENT


@_described("funnel", FunnelSerializer)
class FunnelViewSet(DefinitionViewSet):
    kind = Definition.Kind.FUNNEL
    serializer_class = FunnelSerializer


class AnnotationViewSet(SiteScopedViewSet):
    serializer_class = AnnotationSerializer

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="list_annotations", parameters=RANGE[:3], responses=AnnotationSerializer(many=True)
    )
    def list(self, request: Request, pk: Any) -> Response:
        """What happened on the days of a range, publishes too; the newest 200 of each."""
        known(request, {"period", "from", "to"})
        site = self.site()
        zone = services.settings_of(site).timezone
        asked = read_query(request, site=site.number, zone=zone, now=timezone.now())
        return Response(AnnotationSerializer(services.notes(site, asked.span), many=True).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="annotate", request=AnnotationCreateSerializer, responses={201: AnnotationSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Write beside a day what happened."""
        given = self.validated(AnnotationCreateSerializer)
        site = self.site()
        made = services.annotate(site, given, actor=self.actor)
        shown = {"id": made.pk, "kind": "note", "day": made.day, "text": made.text}
        return Response(AnnotationSerializer(shown).data, status=201)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="delete_annotation", responses={204: None})
    def destroy(self, request: Request, pk: Any, annotation: Any) -> Response:
        """Forget it."""
        services.remove(get_object_or_404(Annotation, site=self.site(), pk=annotation), actor=self.actor)
        return Response(status=204)


class ShareViewSet(SiteScopedViewSet):
    serializer_class = ShareSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="list_shares", responses=ShareSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Links to the numbers, newest first."""
        page = self.paginate_queryset(Share.objects.filter(site=self.site()))
        return self.get_paginated_response(ShareSerializer(page, many=True).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="create_share", request=ShareCreateSerializer, responses={201: ShareSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """A link that shows the dashboard to whoever has it, as long as you work on the site."""
        given = self.validated(ShareCreateSerializer)
        site = self.site()
        made = links.share(site, actor=self.actor, **given)
        return Response(ShareSerializer(made).data, status=201, headers={"Cache-Control": "no-store"})

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="revoke_share", responses={204: None})
    def destroy(self, request: Request, pk: Any, share: Any) -> Response:
        """The link shows nothing from now on."""
        links.revoke(get_object_or_404(Share, site=self.site(), pk=share), actor=self.actor)
        return Response(status=204)


class SubscriptionViewSet(SiteScopedViewSet):
    """One's own; nobody subscribes somebody else."""

    serializer_class = SubscriptionSerializer

    def mine(self) -> Subscription:
        return get_object_or_404(Subscription, site=self.site(), user=self.caller.pk)

    @action_policy(scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="read_weekly_mail", responses=SubscriptionSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Whether you get a mail about this site on Mondays; 404 when not."""
        return Response(SubscriptionSerializer(self.mine()).data)

    @action_policy(
        scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="subscribe_weekly_mail", request=None, responses=SubscriptionSerializer)
    def create(self, request: Request, pk: Any) -> Response:
        """Get a mail about the week before, every Monday at seven in the site's time zone."""
        row = links.subscribe(self.site(), self.caller.pk, actor=self.actor, now=timezone.now())
        return Response(SubscriptionSerializer(row).data)

    @action_policy(scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="unsubscribe_weekly_mail", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """No more of them."""
        links.unsubscribe(self.mine(), actor=self.actor)
        return Response(status=204)
