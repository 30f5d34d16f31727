"""HTTP API of goals, segments, funnels, annotations, links and subscriptions to the weekly mail."""

from typing import Any, ClassVar
from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from analytics import selectors, services
from analytics.models import Annotation, Definition, Share, Subscription
from analytics.permissions import ANALYTICS_READ
from analytics.reports.query_params import DATE_PARAMETERS, parse_query, refuse_unknown_parameters
from analytics.serializers.definitions import (
    AnnotationCreateSerializer,
    AnnotationSerializer,
    DefinitionSerializer,
    FunnelSerializer,
    ShareCreateSerializer,
    ShareSerializer,
    SubscriptionSerializer,
)
from analytics.sharing import links, weekly_mail
from core.http.action_policy import action_policy
from core.http.pagination import KeysetPagination
from sites.viewsets import Role, SiteScopedViewSet


class DefinitionViewSet(SiteScopedViewSet):
    """Base class of goals, segments and funnels, which differ only in their kind and their serializer.

    The id in the path is named for the kind: `goal`, `segment` or `funnel`.
    """

    kind: ClassVar[Definition.Kind]
    serializer_class: type[DefinitionSerializer] = DefinitionSerializer
    pagination_class = KeysetPagination

    def get_definition(self) -> Definition:
        """The row that the path names. Raises Http404."""
        return get_object_or_404(
            Definition, site=self.site(), kind=self.kind, pk=self.kwargs[self.kind.value]
        )

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    def list(self, request: Request, pk: Any) -> Response:
        """List them, the newest first."""
        page = self.paginate_queryset(Definition.objects.filter(site=self.site(), kind=self.kind))
        return self.get_paginated_response(self.serializer_class(page, many=True).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    def create(self, request: Request, pk: Any) -> Response:
        """Save one. Reports on earlier days can use it at once."""
        validated_data = self.validated(self.serializer_class)
        site = self.site()
        definition = services.create_definition(site, self.kind, validated_data, actor=self.actor)
        return Response(self.serializer_class(definition).data, status=201)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    def retrieve(self, request: Request, pk: Any, **definition_id: UUID) -> Response:
        """Read one."""
        return Response(self.serializer_class(self.get_definition()).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    def partial_update(self, request: Request, pk: Any, **definition_id: UUID) -> Response:
        """Change its name or its conditions."""
        changes = self.validated(self.serializer_class, partial=True)
        definition = services.change_definition(self.get_definition(), changes, actor=self.actor)
        return Response(self.serializer_class(definition).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    def destroy(self, request: Request, pk: Any, **definition_id: UUID) -> Response:
        """Delete the goal, segment or funnel. Its events are not deleted."""
        services.delete_with_audit_entry(self.get_definition(), actor=self.actor)
        return Response(status=204)


def _describe_operations(kind: str, serializer: type[DefinitionSerializer]) -> Any:
    """Class decorator with the OpenAPI operations of a kind of definition."""
    return extend_schema_view(
        list=extend_schema(operation_id=f"list_{kind}s", responses=serializer(many=True)),
        create=extend_schema(operation_id=f"create_{kind}", request=serializer, responses={201: serializer}),
        retrieve=extend_schema(operation_id=f"read_{kind}", responses=serializer),
        partial_update=extend_schema(operation_id=f"change_{kind}", request=serializer, responses=serializer),
        destroy=extend_schema(operation_id=f"delete_{kind}", responses={204: None}),
    )


@_describe_operations("goal", DefinitionSerializer)
class GoalViewSet(DefinitionViewSet):
    kind = Definition.Kind.GOAL


@_describe_operations("segment", DefinitionSerializer)
class SegmentViewSet(DefinitionViewSet):
    kind = Definition.Kind.SEGMENT


@_describe_operations("funnel", FunnelSerializer)
class FunnelViewSet(DefinitionViewSet):
    kind = Definition.Kind.FUNNEL
    serializer_class = FunnelSerializer


class AnnotationViewSet(SiteScopedViewSet):
    """Annotations of days; the list includes releases."""

    serializer_class = AnnotationSerializer

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="list_annotations", parameters=DATE_PARAMETERS, responses=AnnotationSerializer(many=True)
    )
    def list(self, request: Request, pk: Any) -> Response:
        """List the annotations and the publishes of a range of days, the newest 200 of each."""
        refuse_unknown_parameters(request, {"period", "from", "to"})
        site = self.site()
        zone = selectors.get_settings(site).timezone
        query = parse_query(request, site_number=site.number, zone=zone, now=timezone.now())
        notes = selectors.list_annotations_and_releases(site, query.date_range)
        return Response(AnnotationSerializer(notes, many=True).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="annotate", request=AnnotationCreateSerializer, responses={201: AnnotationSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Save a note about what happened on a day."""
        validated_data = self.validated(AnnotationCreateSerializer)
        annotation = services.create_annotation(self.site(), validated_data, actor=self.actor)
        note = {"id": annotation.pk, "kind": "note", "day": annotation.day, "text": annotation.text}
        return Response(AnnotationSerializer(note).data, status=201)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="delete_annotation", responses={204: None})
    def destroy(self, request: Request, pk: Any, annotation: Any) -> Response:
        """Delete a note."""
        row = get_object_or_404(Annotation, site=self.site(), pk=annotation)
        services.delete_with_audit_entry(row, actor=self.actor)
        return Response(status=204)


class ShareViewSet(SiteScopedViewSet):
    """Links that show the dashboard to people without an account."""

    serializer_class = ShareSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="list_shares", responses=ShareSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the links to the dashboard, the newest first."""
        page = self.paginate_queryset(Share.objects.filter(site=self.site()))
        return self.get_paginated_response(ShareSerializer(page, many=True).data)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="create_share", request=ShareCreateSerializer, responses={201: ShareSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Create a link that shows the dashboard without an account, as long as you work on the site."""
        validated_data = self.validated(ShareCreateSerializer)
        share = links.create_share(self.site(), actor=self.actor, **validated_data)
        return Response(ShareSerializer(share).data, status=201, headers={"Cache-Control": "no-store"})

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="revoke_share", responses={204: None})
    def destroy(self, request: Request, pk: Any, share: Any) -> Response:
        """Delete a link. It stops working at once."""
        links.revoke_share(get_object_or_404(Share, site=self.site(), pk=share), actor=self.actor)
        return Response(status=204)


class SubscriptionViewSet(SiteScopedViewSet):
    """The caller's own subscription. It is not possible to subscribe another user."""

    serializer_class = SubscriptionSerializer

    def get_own_subscription(self) -> Subscription:
        """Raises Http404."""
        return get_object_or_404(Subscription, site=self.site(), user=self.caller.pk)

    @action_policy(scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="read_weekly_mail", responses=SubscriptionSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Read your subscription to the weekly mail about this site; 404 when you have none."""
        return Response(SubscriptionSerializer(self.get_own_subscription()).data)

    @action_policy(
        scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="subscribe_weekly_mail", request=None, responses=SubscriptionSerializer)
    def create(self, request: Request, pk: Any) -> Response:
        """Subscribe to a mail about the week before, every Monday at seven in the site's time zone."""
        subscription = weekly_mail.subscribe(
            self.site(), self.caller.pk, actor=self.actor, now=timezone.now()
        )
        return Response(SubscriptionSerializer(subscription).data)

    @action_policy(scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="unsubscribe_weekly_mail", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Unsubscribe from the weekly mail."""
        weekly_mail.unsubscribe(self.get_own_subscription(), actor=self.actor)
        return Response(status=204)
