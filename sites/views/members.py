"""Members and invitations over HTTP."""

from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from audit import actors
from core import tenancy
from core.http.action_policy import ANONYMOUS, SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.responses import versioned
from core.http.viewsets import ApiViewSet
from sites.models import Invitation, Site
from sites.permissions import SITES_READ
from sites.serializers.members import (
    InvitationCreateSerializer,
    InvitationSerializer,
    InvitationTokenSerializer,
    JoinedSerializer,
    MemberSerializer,
    OpenedInvitationSerializer,
    RoleSerializer,
    TransferSerializer,
)
from sites.serializers.sites import SiteSerializer
from sites.services import members as members_services
from sites.viewsets import Role, SiteScopedViewSet

NO_STORE = {"Cache-Control": "no-store"}


class MemberViewSet(SiteScopedViewSet):
    """Who works on a site. Only a person changes that, never an API key."""

    serializer_class = MemberSerializer
    pagination_class = KeysetPagination
    locks_roles = True

    def members(self, site: Site) -> Any:
        found = User.objects.alive().filter(site_access__site=site)
        return found.annotate(role=F("site_access__role"), since=F("site_access__created_at"))

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_members", responses=MemberSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Who has a role on the site."""
        page = self.paginate_queryset(self.members(self.site()))
        return self.get_paginated_response(MemberSerializer(page, many=True).data)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="change_member", request=RoleSerializer, responses=MemberSerializer)
    def partial_update(self, request: Request, pk: Any, member: UUID) -> Response:
        """Give a member another role. The owner keeps theirs until the site is handed over."""
        site = self.site()
        members_services.change_role(site, member, self.validated(RoleSerializer)["role"], actor=self.actor)
        return Response(MemberSerializer(self.members(site).get(pk=member)).data)

    @action_policy(scope=None, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="remove_member", responses={204: None})
    def destroy(self, request: Request, pk: Any, member: UUID) -> Response:
        """Remove a member, or leave a site yourself."""
        site = self.site() if member == self.caller.pk else self.site(Role.OWNER)
        members_services.remove_member(site, member, actor=self.actor)
        return Response(status=204)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="transfer_site", request=TransferSerializer, responses=SiteSerializer)
    def transfer(self, request: Request, pk: Any) -> Response:
        """Hand the site over to another member; you stay as an editor. Needs a recent proof."""
        member = self.validated(TransferSerializer)["member"]
        site: Any = members_services.transfer_site(self.site(), member, actor=self.actor)
        site.role = Role.EDITOR
        return versioned(SiteSerializer(site).data, site.version)


class InvitationViewSet(SiteScopedViewSet):
    serializer_class = InvitationSerializer
    pagination_class = KeysetPagination

    def open_ones(self) -> Any:
        return Invitation.objects.filter(site=self.site(), used_at=None, expires_at__gt=timezone.now())

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_invitations", responses=InvitationSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Invitations that wait for an answer, newest first."""
        page = self.paginate_queryset(self.open_ones())
        return self.get_paginated_response(InvitationSerializer(page, many=True).data)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="invite_member",
        request=InvitationCreateSerializer,
        responses={201: InvitationSerializer},
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Invite somebody by mail, for 7 days. An earlier invitation of the same address ends."""
        given = self.validated(InvitationCreateSerializer)
        made = members_services.invite(self.site(), actor=self.actor, now=timezone.now(), **given)
        return Response(InvitationSerializer(made).data, status=201)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="withdraw_invitation", responses={204: None})
    def destroy(self, request: Request, pk: Any, invitation: UUID) -> Response:
        """The link in the mail does not work any more."""
        found = self.open_ones().get(pk=invitation)
        members_services.withdraw_invitation(found, actor=self.actor, now=timezone.now())
        return Response(status=204)


class InvitationLinkViewSet(ApiViewSet):
    """The other side of an invitation: whoever has the mailed token, which travels in bodies only."""

    serializer_class = InvitationTokenSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="open_invitation",
        request=InvitationTokenSerializer,
        responses=OpenedInvitationSerializer,
        auth=[],
    )
    def open(self, request: Request) -> Response:
        """What a mailed link invites to."""
        with tenancy.context(tenancy.SYSTEM):
            found = members_services.find_invitation(
                self.validated(InvitationTokenSerializer)["token"], now=timezone.now()
            )
            return Response(OpenedInvitationSerializer(found).data, headers=NO_STORE)


class JoinViewSet(ApiViewSet):
    serializer_class = InvitationTokenSerializer

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="accept_invitation", request=InvitationTokenSerializer, responses=JoinedSerializer
    )
    def accept(self, request: Request) -> Response:
        """Join the site, with the account whose address was invited."""
        token = self.validated(InvitationTokenSerializer)["token"]
        with tenancy.context(tenancy.SYSTEM):
            site, role = members_services.accept_invitation(
                token, actor=actors.user(self.caller), now=timezone.now()
            )
            return Response(JoinedSerializer({"site": site.pk, "name": site.name, "role": role}).data)
