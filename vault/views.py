"""API views of the vault. Envelopes are stored and returned as they are; impersonators are refused."""

import base64
import binascii
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Length
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.responses import NO_STORE, device_of, signed_in_response
from accounts.serializers.accounts import SignedInSerializer
from accounts.services.sessions import open_session
from accounts.services.sign_in import check_credentials
from accounts.services.users import set_password
from audit import actors
from audit.actors import Actor
from core.errors import FieldProblem, Invalid
from core.http.action_policy import ANONYMOUS, SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match
from core.http.query_params import boolean_param, query_param
from core.http.responses import versioned
from core.http.viewsets import ApiViewSet
from vault import purging, selectors, services
from vault.envelopes import MAX_REQUEST_BYTES
from vault.models import FormerVersion, Item, Vault
from vault.permissions import VAULT_READ, VAULT_WRITE
from vault.serializers import (
    ChangesSerializer,
    CreatedVaultSerializer,
    FormerVersionSerializer,
    ItemHeadSerializer,
    ItemSerializer,
    NewItemSerializer,
    NewPasswordSerializer,
    NewVaultSerializer,
    RecordSerializer,
    RotationSerializer,
    SealedSerializer,
    VaultHeadSerializer,
    VaultSerializer,
    VectorsSerializer,
)

VECTORS = Path(__file__).parent / "vectors.json"
ITEM_REQUEST_BYTES = 3 * 512 * 1024  # of a request with one envelope: 1 MiB in base64 and the JSON around it
PASSWORD_REQUEST_BYTES = 3 * 1024 * 1024  # of a request with the own records of 100 vaults in base64
DELETED_PARAMETER = OpenApiParameter(
    "deleted", bool, description="Use the trash instead of what is not deleted."
)
SINCE_PARAMETER = OpenApiParameter(
    "since",
    str,
    description="The `cursor` of the last response. Without it the changes start from the beginning.",
)


class VaultApiViewSet(ApiViewSet):
    """Base of the vault's views. Every row belongs to the caller."""

    row_level_security = True
    pagination_class = KeysetPagination
    max_body_bytes = ITEM_REQUEST_BYTES
    filters = ("deleted",)

    @property
    def actor(self) -> Actor:
        return actors.user(self.caller)

    @property
    def session_id(self) -> UUID | None:
        """The caller's session, or None for a request with an API key."""
        principal: Any = self.request.auth
        return None if principal.scopes is not None else principal.session_id

    def is_for_trash(self) -> bool:
        """Return the query parameter `deleted`."""
        return bool(query_param(self.request, "deleted", boolean_param))

    def vaults(self) -> QuerySet[Vault]:
        return Vault.objects.filter(owner_id=self.caller.pk)

    def get_vault(self, *, deleted: bool = False) -> Vault:
        rows = self.vaults().filter(deleted_at__isnull=not deleted)
        vault: Vault = get_object_or_404(rows, vault_id=self.kwargs["vault_id"])
        return vault

    def versioned_response(self, serializer: Any, row: Vault | Item, *, status: int = 200) -> Response:
        return versioned(serializer(row).data, row.version, status=status, headers=NO_STORE)

    def list_response(self, rows: Any, serializer: Any) -> Response:
        """Return a page of rows without the ciphertext. `size` is the length of the ciphertext in bytes."""
        page = self.paginate_queryset(rows.annotate(size=Length("ciphertext")).defer("ciphertext"))
        response: Response = self.get_paginated_response(serializer(page, many=True).data)
        response["Cache-Control"] = "no-store"
        return response


class VaultViewSet(VaultApiViewSet):
    serializer_class = VaultSerializer

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="list_vaults", parameters=[DELETED_PARAMETER], responses=VaultHeadSerializer(many=True)
    )
    def list(self, request: Request) -> Response:
        """List your vaults without their envelopes, newest first."""
        rows = self.vaults().filter(deleted_at__isnull=not self.is_for_trash())
        return self.list_response(rows, VaultHeadSerializer)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="create_vault", request=NewVaultSerializer, responses={201: CreatedVaultSerializer}
    )
    def create(self, request: Request) -> Response:
        """Create a vault under an id of your choice. Sending the same vault again returns it."""
        data = self.validated(NewVaultSerializer)
        vault, _ = services.create_vault(
            self.caller.pk, data["vault_id"], data["envelope"], actor=self.actor, session_id=self.session_id
        )
        return self.versioned_response(CreatedVaultSerializer, vault, status=201)

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault", parameters=[DELETED_PARAMETER], responses=VaultSerializer)
    def retrieve(self, request: Request, vault_id: UUID) -> Response:
        """Return the own record of a vault."""
        return self.versioned_response(VaultSerializer, self.get_vault(deleted=self.is_for_trash()))

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_vault", request=RecordSerializer, responses=VaultSerializer)
    def update(self, request: Request, vault_id: UUID) -> Response:
        """Replace the own record of a vault by its next version."""
        envelope = self.validated(RecordSerializer)["envelope"]
        vault = services.change_vault(
            self.get_vault(), envelope, actor=self.actor, if_match=if_match(request)
        )
        return self.versioned_response(VaultSerializer, vault)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_vault", parameters=[DELETED_PARAMETER], responses={204: None})
    def destroy(self, request: Request, vault_id: UUID) -> Response:
        """Move a vault with everything in it to the trash, where it is purged after 30 days.

        With `deleted=true` purge a vault that is in the trash now.
        """
        if self.is_for_trash():
            purging.purge_vault(self.get_vault(deleted=True), actor=self.actor, if_match=if_match(request))
        else:
            services.delete_vault(
                self.get_vault(), actor=self.actor, now=timezone.now(), if_match=if_match(request)
            )
        return Response(status=204, headers=NO_STORE)

    @action_policy(
        scope=VAULT_WRITE,
        role=SIGNED_IN,
        recent_proof=False,
        if_match=False,
        impersonation=False,
        body="none",
    )
    @extend_schema(operation_id="restore_vault", request=None, responses=VaultSerializer)
    def restore(self, request: Request, vault_id: UUID) -> Response:
        """Take a vault out of the trash."""
        vault = get_object_or_404(self.vaults().exclude(deleted_at=None), vault_id=vault_id)
        return self.versioned_response(VaultSerializer, services.restore_vault(vault, actor=self.actor))

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault_changes", parameters=[SINCE_PARAMETER], responses=ChangesSerializer)
    def changes(self, request: Request) -> Response:
        """List the changes of all your vaults since a cursor, deletions included, in the order of change.

        Applying all changes from the beginning gives the present state.
        """
        page = selectors.changes_since(self.caller.pk, self._parse_since())
        data = {"results": page.rows, "cursor": _encode_cursor(page.last_sequence), "more": page.has_more}
        return Response(ChangesSerializer(data).data, headers=NO_STORE)

    def _parse_since(self) -> int:
        """Return the change number in the cursor, or 0 without a cursor. Raises Invalid."""
        if unknown := sorted(set(self.request.query_params) - {"since"}):
            raise Invalid([FieldProblem("", "query_unknown", f"Not a parameter here: {unknown[0][:40]}.")])
        text = self.request.query_params.get("since", "")
        try:
            number = int(base64.urlsafe_b64decode(text + "==").decode("ascii")) if text else 0
        except (ValueError, binascii.Error):
            number = -1
        if not 0 <= number < 2**62 or (text and _encode_cursor(number) != text):
            raise Invalid([FieldProblem("", "query_since", "`since` is not a valid cursor.")])
        return number


def _encode_cursor(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


class VectorsViewSet(ApiViewSet):
    serializer_class = VectorsSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="vault_vectors", responses=VectorsSerializer, auth=[])
    def retrieve(self, request: Request) -> Response:
        """Return test vectors for clients: keys derived from passwords, and envelopes with their keys."""
        return Response(json.loads(VECTORS.read_text()), headers={"Cache-Control": "public, max-age=3600"})


class RotationViewSet(VaultApiViewSet):
    serializer_class = RotationSerializer
    max_body_bytes = MAX_REQUEST_BYTES

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="rotate_vault", request=RotationSerializer, responses=VaultSerializer)
    def rotate(self, request: Request, vault_id: UUID) -> Response:
        """Replace the key of a vault: its own record and every item re-encrypted, or nothing at all.

        Former versions and the trash of the vault are deleted, because the old key opens them. Your other
        sessions end.
        """
        data = self.validated(RotationSerializer)
        item_envelopes = {item["item_id"]: item["envelope"] for item in data["items"]}
        if len(item_envelopes) != len(data["items"]):
            raise Invalid([FieldProblem("/items", "twice", "An item is contained twice.")])
        vault = services.rotate_vault_key(
            self.get_vault(),
            data["envelope"],
            item_envelopes,
            actor=self.actor,
            session_id=self.session_id,
            now=timezone.now(),
            if_match=if_match(request),
        )
        return self.versioned_response(VaultSerializer, vault)


class PasswordViewSet(ApiViewSet):
    serializer_class = NewPasswordSerializer
    max_body_bytes = PASSWORD_REQUEST_BYTES

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="change_vault_password", request=NewPasswordSerializer, responses=SignedInSerializer
    )
    def update(self, request: Request) -> Response:
        """Replace the password of a blind account that has vaults.

        Works like `POST /auth/password/change`, together with the own record of each vault re-encrypted,
        including those in the trash. Every session ends, and this device gets a new one.
        """
        data = self.validated(NewPasswordSerializer)
        device = device_of(request)
        now = timezone.now()
        records = {vault["vault_id"]: vault["envelope"] for vault in data["vaults"]}
        if len(records) != len(data["vaults"]):
            raise Invalid([FieldProblem("/vaults", "twice", "A vault is contained twice.")])
        user = self.caller.row()
        check_credentials(user.email, data["secret"], scheme=data["scheme"], device=device)
        set_password(
            user.pk,
            data["password"],
            kdf=data["kdf"],
            actor=actors.user(user),
            now=now,
            reencrypted_data=records,
        )
        user.refresh_from_db()
        session = open_session(user, device=device, now=now, method="password change", quietly=True)
        return signed_in_response(request, session)


class ItemViewSet(VaultApiViewSet):
    serializer_class = ItemSerializer

    def items(self) -> QuerySet[Item]:
        return Item.objects.filter(vault=self.get_vault(), purged_at=None)

    def get_item(self, *, deleted: bool = False) -> Item:
        rows = self.items().filter(deleted_at__isnull=not deleted)
        item: Item = get_object_or_404(rows, item_id=self.kwargs["item_id"])
        return item

    def get_item_without_ciphertext(self) -> Item:
        rows = self.items().filter(deleted_at=None).defer("ciphertext")
        item: Item = get_object_or_404(rows, item_id=self.kwargs["item_id"])
        return item

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="list_vault_items",
        parameters=[DELETED_PARAMETER],
        responses=ItemHeadSerializer(many=True),
    )
    def list(self, request: Request, vault_id: UUID) -> Response:
        """List the items of a vault without their envelopes, newest first."""
        rows = self.items().filter(deleted_at__isnull=not self.is_for_trash())
        return self.list_response(rows, ItemHeadSerializer)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(
        operation_id="create_vault_item", request=NewItemSerializer, responses={201: ItemSerializer}
    )
    def create(self, request: Request, vault_id: UUID) -> Response:
        """Create an item under an id of your choice. Sending the same item again returns it.

        If-Match is the version of the vault whose key encrypted the item, so that an item which was encrypted
        with the key before a rotation is refused.
        """
        data = self.validated(NewItemSerializer)
        item, _ = services.create_item(
            self.get_vault(), data["item_id"], data["envelope"], actor=self.actor, if_match=if_match(request)
        )
        return self.versioned_response(ItemSerializer, item, status=201)

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault_item", parameters=[DELETED_PARAMETER], responses=ItemSerializer)
    def retrieve(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """Return an item."""
        return self.versioned_response(ItemSerializer, self.get_item(deleted=self.is_for_trash()))

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_vault_item", request=SealedSerializer, responses=ItemSerializer)
    def update(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """Replace an item by its next version. The last ten versions are kept."""
        envelope = self.validated(SealedSerializer)["envelope"]
        item = services.change_item(
            self.get_item_without_ciphertext(), envelope, actor=self.actor, if_match=if_match(request)
        )
        return self.versioned_response(ItemSerializer, item)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_vault_item", parameters=[DELETED_PARAMETER], responses={204: None})
    def destroy(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """Move an item to the trash, where it is purged after 30 days.

        With `deleted=true` purge an item that is in the trash now.
        """
        now = timezone.now()
        required_version = if_match(request)
        if self.is_for_trash():
            purging.purge_item(
                self.get_item(deleted=True), actor=self.actor, now=now, if_match=required_version
            )
        else:
            services.delete_item(
                self.get_item_without_ciphertext(), actor=self.actor, now=now, if_match=required_version
            )
        return Response(status=204, headers=NO_STORE)

    @action_policy(
        scope=VAULT_WRITE,
        role=SIGNED_IN,
        recent_proof=False,
        if_match=False,
        impersonation=False,
        body="none",
    )
    @extend_schema(operation_id="restore_vault_item", request=None, responses=ItemSerializer)
    def restore(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """Take an item out of the trash."""
        item = get_object_or_404(self.items().exclude(deleted_at=None), item_id=item_id)
        return self.versioned_response(ItemSerializer, services.restore_item(item, actor=self.actor))

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault_item_versions", responses=FormerVersionSerializer(many=True))
    def versions(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """List the former versions of an item, newest first, at most ten."""
        versions = FormerVersion.objects.filter(item=self.get_item_without_ciphertext())
        return Response({"results": FormerVersionSerializer(versions, many=True).data}, headers=NO_STORE)
