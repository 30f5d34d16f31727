"""Views for administrators: all accounts, roles and permissions."""

from typing import Any

from django.db.models import F, IntegerField, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Role, User
from accounts.permissions import ROLES_READ, ROLES_WRITE, USERS_READ, USERS_WRITE
from accounts.serializers.accounts import (
    AccountChangeSerializer,
    AccountCreateSerializer,
    AccountReplaceSerializer,
    AccountSerializer,
)
from accounts.serializers.roles import (
    PermissionsSerializer,
    RoleChangeSerializer,
    RoleSerializer,
    RolesSerializer,
)
from accounts.services import roles as roles_services
from accounts.services import staff_users
from accounts.services import users as users_services
from audit import actors
from core.http.action_policy import action_policy
from core.http.pagination import KeysetPagination, Ordering
from core.http.preconditions import if_match
from core.http.query_params import boolean_param, integer_param, query_param, text_param
from core.http.responses import versioned
from core.http.viewsets import ApiViewSet
from core.permissions import all_permissions, all_scopes

FILTERS = [
    OpenApiParameter(
        "search", {"type": "string", "minLength": 1, "maxLength": 100}, description="Text in address or name."
    ),
    OpenApiParameter("role", {"type": "string", "minLength": 1, "maxLength": 100}),
    OpenApiParameter("is_active", bool),
    OpenApiParameter("min_age", {"type": "integer", "minimum": 0, "maximum": 150}),
    OpenApiParameter("max_age", {"type": "integer", "minimum": 0, "maximum": 150}),
]


def permissions_of_caller(view: ApiViewSet) -> frozenset[str]:
    """Return the permissions of the caller; for an API key those within its scopes.

    The caller can neither grant nor change more than these.
    """
    permissions: frozenset[str] = view.caller.row().permission_codes()
    scopes = getattr(view.request.auth, "scopes", None)
    return permissions if scopes is None else permissions & scopes


class UserViewSet(ApiViewSet):
    serializer_class = AccountSerializer
    pagination_class = KeysetPagination
    filters = ("search", "role", "is_active", "min_age", "max_age")
    orderings = {
        "email": Ordering(F("email"), str),
        "name": Ordering(F("name"), str),
        # A plain integer field: Django drops `> -1` on a positive field as always true.
        "age": Ordering(Coalesce("age", -1, output_field=IntegerField()), int),
    }

    def get_queryset(self) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.alive().prefetch_related("roles")
        if self.action != "list":
            return users
        request = self.request
        if text := query_param(request, "search", text_param):
            users = users.filter(Q(email__icontains=text) | Q(name__icontains=text))
        if role := query_param(request, "role", text_param):
            users = users.filter(roles__name=role)
        for name, lookup, parse in (
            ("is_active", "is_active", boolean_param),
            ("min_age", "age__gte", integer_param(0, 150)),
            ("max_age", "age__lte", integer_param(0, 150)),
        ):
            value = query_param(request, name, parse)
            users = users if value is None else users.filter(**{lookup: value})
        return users

    @action_policy(scope=USERS_READ, role=USERS_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_users", parameters=FILTERS, responses=AccountSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List all accounts."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(AccountSerializer(page, many=True).data)

    @action_policy(
        scope=USERS_WRITE, role=USERS_WRITE, recent_proof=True, if_match=False, impersonation=False
    )
    @extend_schema(
        operation_id="create_user", request=AccountCreateSerializer, responses={201: AccountSerializer}
    )
    def create(self, request: Request) -> Response:
        """Create an account. Its owner gets a mail with a link to choose a password."""
        values = self.validated(AccountCreateSerializer)
        roles = set(values.pop("roles", [roles_services.USER_ROLE]))
        user = staff_users.create_user(
            **values,
            roles=roles,
            actor=actors.user(self.caller),
            allowed_permissions=permissions_of_caller(self),
            now=timezone.now(),
        )
        return self._user_response(user.pk, status=201, headers={"Location": f"/api/v1/users/{user.pk}"})

    @action_policy(scope=USERS_READ, role=USERS_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="user", responses=AccountSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Get an account."""
        return self._user_response(pk)

    @action_policy(scope=USERS_WRITE, role=USERS_WRITE, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="replace_user", request=AccountReplaceSerializer, responses=AccountSerializer)
    def update(self, request: Request, pk: Any) -> Response:
        """Replace name, age and `is_active`."""
        return self._change_user(self.validated(AccountReplaceSerializer))

    @action_policy(scope=USERS_WRITE, role=USERS_WRITE, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_user", request=AccountChangeSerializer, responses=AccountSerializer)
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change name, age or `is_active`. Disabling an account ends its sessions at once."""
        return self._change_user(self.validated(AccountChangeSerializer, partial=True))

    def _change_user(self, changes: dict[str, Any]) -> Response:
        user = self.get_object()
        users_services.change_user_as_staff(
            user.pk,
            changes,
            actor=actors.user(self.caller),
            now=timezone.now(),
            if_match=if_match(self.request),
            allowed_permissions=permissions_of_caller(self),
        )
        return self._user_response(user.pk)

    @action_policy(scope=USERS_WRITE, role=USERS_WRITE, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_user", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Delete an account with everything it owns. It can be restored for 30 days."""
        users_services.delete_user(
            self.get_object().pk,
            actor=actors.user(self.caller),
            now=timezone.now(),
            if_match=if_match(request),
            allowed_permissions=permissions_of_caller(self),
        )
        return Response(status=204)

    @action_policy(scope=USERS_WRITE, role=USERS_WRITE, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="set_user_roles", request=RolesSerializer, responses=AccountSerializer)
    def roles(self, request: Request, pk: Any) -> Response:
        """Give a user exactly these roles, from their next request on."""
        user = self.get_object()
        names = set(self.validated(RolesSerializer)["roles"])
        roles_services.set_roles(
            user.pk,
            names,
            actor=actors.user(self.caller),
            now=timezone.now(),
            allowed_permissions=permissions_of_caller(self),
            if_match=if_match(request),
        )
        return self._user_response(user.pk)

    def _user_response(
        self, pk: Any, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        """Return the response with a user, loaded anew after a change."""
        self.kwargs["pk"] = pk
        user = self.get_object()
        return versioned(AccountSerializer(user).data, user.version, status=status, headers=headers)


class RoleViewSet(ApiViewSet):
    serializer_class = RoleSerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> QuerySet[Role]:
        return Role.objects.all()

    @action_policy(scope=ROLES_READ, role=ROLES_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_roles", responses=RoleSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List all roles, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(RoleSerializer(page, many=True).data)

    @action_policy(scope=None, role=ROLES_WRITE, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="create_role", request=RoleChangeSerializer, responses={201: RoleSerializer})
    def create(self, request: Request) -> Response:
        """Create a role. Its permissions must be among your own."""
        role = roles_services.create_role(
            **self.validated(RoleChangeSerializer),
            actor=actors.user(self.caller),
            allowed_permissions=permissions_of_caller(self),
        )
        headers = {"Location": f"/api/v1/roles/{role.pk}"}
        return versioned(RoleSerializer(role).data, role.version, status=201, headers=headers)

    @action_policy(scope=ROLES_READ, role=ROLES_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="role", responses=RoleSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Get a role."""
        role = self.get_object()
        return versioned(RoleSerializer(role).data, role.version)

    @action_policy(scope=None, role=ROLES_WRITE, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_role", request=RoleChangeSerializer, responses=RoleSerializer)
    def update(self, request: Request, pk: Any) -> Response:
        """Replace name and permissions. Takes effect on the next request of users with this role."""
        values = self.validated(RoleChangeSerializer)
        role = roles_services.change_role(
            self.get_object().pk,
            **values,
            actor=actors.user(self.caller),
            allowed_permissions=permissions_of_caller(self),
            if_match=if_match(request),
        )
        return versioned(RoleSerializer(role).data, role.version)

    @action_policy(scope=None, role=ROLES_WRITE, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_role", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Delete a role that no user has."""
        roles_services.delete_role(
            self.get_object().pk,
            actor=actors.user(self.caller),
            allowed_permissions=permissions_of_caller(self),
            if_match=if_match(request),
        )
        return Response(status=204)

    @action_policy(scope=ROLES_READ, role=ROLES_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_permissions", responses=PermissionsSerializer)
    def permissions(self, request: Request) -> Response:
        """List the permissions for roles and the scopes for API keys."""
        catalogues = {"permissions": all_permissions(), "scopes": all_scopes()}
        return Response(
            {
                name: [{"code": item.code, "meaning": item.meaning} for item in items.values()]
                for name, items in catalogues.items()
            }
        )
