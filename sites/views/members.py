"""API views of members and invitations."""

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
    """Members of a site. API keys may read them, but never change them."""

    serializer_class = MemberSerializer
    pagination_class = KeysetPagination
    locks_roles = True

    def members(self, site: Site) -> Any:
        """Return the members as users, annotated with `role` and `since`."""
        users = User.objects.alive().filter(site_access__site=site)
        return users.annotate(role=F("site_access__role"), since=F("site_access__created_at"))

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_members", responses=MemberSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the members of a site with their roles."""
        page = self.paginate_queryset(self.members(self.site()))
        return self.get_paginated_response(MemberSerializer(page, many=True).data)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="change_member", request=RoleSerializer, responses=MemberSerializer)
    def partial_update(self, request: Request, pk: Any, member: UUID) -> Response:
        """Give a member another role. The owner's role changes only when the site is transferred."""
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
        """Transfer the site to another member. You become an editor. Needs a recent proof of identity."""
        member = self.validated(TransferSerializer)["member"]
        site: Any = members_services.transfer_site(self.site(), member, actor=self.actor)
        site.role = Role.EDITOR
        return versioned(SiteSerializer(site).data, site.version)


class InvitationViewSet(SiteScopedViewSet):
    serializer_class = InvitationSerializer
    pagination_class = KeysetPagination

    def open_invitations(self) -> Any:
        return Invitation.objects.filter(site=self.site(), used_at=None, expires_at__gt=timezone.now())

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_invitations", responses=InvitationSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the invitations that can still be accepted, newest first."""
        page = self.paginate_queryset(self.open_invitations())
        return self.get_paginated_response(InvitationSerializer(page, many=True).data)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="invite_member",
        request=InvitationCreateSerializer,
        responses={201: InvitationSerializer},
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Invite a person by mail, for 7 days. This replaces an earlier invitation of the same address."""
        validated_data = self.validated(InvitationCreateSerializer)
        invitation = members_services.invite_member(
            self.site(), actor=self.actor, now=timezone.now(), **validated_data
        )
        return Response(InvitationSerializer(invitation).data, status=201)

    @action_policy(scope=None, role=Role.OWNER, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="withdraw_invitation", responses={204: None})
    def destroy(self, request: Request, pk: Any, invitation: UUID) -> Response:
        """Withdraw an invitation. The link in the mail stops working."""
        open_invitation = self.open_invitations().get(pk=invitation)
        members_services.withdraw_invitation(open_invitation, actor=self.actor, now=timezone.now())
        return Response(status=204)


class InvitationLinkViewSet(ApiViewSet):
    """Shows an invitation to the person who has the mailed token. Tokens are sent in request bodies only."""

    serializer_class = InvitationTokenSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="open_invitation",
        request=InvitationTokenSerializer,
        responses=OpenedInvitationSerializer,
        auth=[],
    )
    def open(self, request: Request) -> Response:
        """Return the site and the role of a mailed invitation."""
        with tenancy.context(tenancy.SYSTEM):
            invitation = members_services.find_invitation_by_token(
                self.validated(InvitationTokenSerializer)["token"], now=timezone.now()
            )
            return Response(OpenedInvitationSerializer(invitation).data, headers=NO_STORE)


class JoinViewSet(ApiViewSet):
    serializer_class = InvitationTokenSerializer

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
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
