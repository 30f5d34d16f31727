"""The vault's API: envelopes in, envelopes out. Nobody sees them in somebody else's name."""

import base64
import binascii
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models.functions import Length
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.responses import NO_STORE, device_of, signed_in
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
from vault import selectors, services
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
ITEM_BYTES = 3 * 512 * 1024  # of a request with one envelope: 1 MiB in base64 and what is around it
TRASH = OpenApiParameter("deleted", bool, description="What lies in the trash, in place of what does not.")


class VaultApiViewSet(ApiViewSet):
    """What is the caller's own and theirs alone."""

    row_level_security = True
    pagination_class = KeysetPagination
    max_body_bytes = ITEM_BYTES
    filters = ("deleted",)

    @property
    def actor(self) -> Actor:
        return actors.user(self.caller)

    @property
    def session_id(self) -> UUID | None:
        """The caller's session; none where a program calls with a key."""
        principal: Any = self.request.auth
        return None if principal.scopes is not None else principal.session_id

    def trash(self) -> bool:
        """Whether the trash is asked for."""
        return bool(query_param(self.request, "deleted", boolean_param))

    def vaults(self) -> Any:
        return Vault.objects.filter(owner_id=self.caller.pk)

    def vault(self, *, deleted: bool = False) -> Vault:
        rows = self.vaults().filter(deleted_at__isnull=not deleted)
        found: Vault = get_object_or_404(rows, vault_id=self.kwargs["vault_id"])
        return found

    def shown(self, serializer: Any, row: Vault | Item, *, status: int = 200) -> Response:
        return versioned(serializer(row).data, row.version, status=status, headers=NO_STORE)

    def page(self, rows: Any, serializer: Any) -> Response:
        answer: Response = self.get_paginated_response(
            serializer(self.paginate_queryset(rows), many=True).data
        )
        answer["Cache-Control"] = "no-store"
        return answer


class VaultViewSet(VaultApiViewSet):
    serializer_class = VaultSerializer

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="list_vaults", parameters=[TRASH], responses=VaultHeadSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Your vaults without what is in them, newest first."""
        found = self.vaults().filter(deleted_at__isnull=not self.trash()).annotate(size=Length("ciphertext"))
        return self.page(found.defer("ciphertext"), VaultHeadSerializer)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="create_vault", request=NewVaultSerializer, responses={201: CreatedVaultSerializer}
    )
    def create(self, request: Request) -> Response:
        """Make a vault under an id of your choice. The same one sent again is the same one."""
        given = self.validated(NewVaultSerializer)
        made, _ = services.create_vault(
            self.caller.pk, given["vault_id"], given["sealed"], actor=self.actor, session_id=self.session_id
        )
        return self.shown(CreatedVaultSerializer, made, status=201)

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault", parameters=[TRASH], responses=VaultSerializer)
    def retrieve(self, request: Request, vault_id: UUID) -> Response:
        """A vault's own record."""
        return self.shown(VaultSerializer, self.vault(deleted=self.trash()))

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_vault", request=RecordSerializer, responses=VaultSerializer)
    def update(self, request: Request, vault_id: UUID) -> Response:
        """Replace a vault's own record by its next version."""
        sealed = self.validated(RecordSerializer)["sealed"]
        vault = services.change_vault(self.vault(), sealed, actor=self.actor, if_match=if_match(request))
        return self.shown(VaultSerializer, vault)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_vault", parameters=[TRASH], responses={204: None})
    def destroy(self, request: Request, vault_id: UUID) -> Response:
        """Put a vault into the trash, with everything in it.

        It is purged after 30 days; or now, if it is in the trash and `deleted=true` says so.
        """
        if self.trash():
            services.purge_vault(self.vault(deleted=True), actor=self.actor, if_match=if_match(request))
        else:
            services.delete_vault(
                self.vault(), actor=self.actor, now=timezone.now(), if_match=if_match(request)
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
        found = get_object_or_404(self.vaults().exclude(deleted_at=None), vault_id=vault_id)
        return self.shown(VaultSerializer, services.restore_vault(found, actor=self.actor))

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="vault_changes",
        parameters=[
            OpenApiParameter(
                "since", str, description="The `cursor` of the last answer; none begins from zero."
            )
        ],
        responses=ChangesSerializer,
    )
    def changes(self, request: Request) -> Response:
        """What changed since last time in all your vaults, deletions too, in the order it happened.

        Applying all of it from zero gives what is there now.
        """
        found = selectors.changes_since(self.caller.pk, self.since())
        facts = {"results": found.rows, "cursor": _cursor(found.until), "more": found.more}
        return Response(ChangesSerializer(facts).data, headers=NO_STORE)

    def since(self) -> int:
        """The number in the cursor. Raises Invalid."""
        if unknown := sorted(set(self.request.query_params) - {"since"}):
            raise Invalid([FieldProblem("", "query_unknown", f"Not a parameter here: {unknown[0][:40]}.")])
        text = self.request.query_params.get("since", "")
        try:
            number = int(base64.urlsafe_b64decode(text + "==").decode("ascii")) if text else 0
        except (ValueError, binascii.Error):
            number = -1
        if not 0 <= number < 2**62 or (text and _cursor(number) != text):
            raise Invalid([FieldProblem("", "query_since", "This is not a cursor of ours.")])
        return number


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


class VectorsViewSet(ApiViewSet):
    serializer_class = VectorsSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="vault_vectors", responses=VectorsSerializer, auth=[])
    def retrieve(self, request: Request) -> Response:
        """Examples to hold a client to: what is derived from passwords, and envelopes with their keys."""
        return Response(json.loads(VECTORS.read_text()), headers={"Cache-Control": "public, max-age=3600"})


class RotationViewSet(VaultApiViewSet):
    serializer_class = RotationSerializer
    max_body_bytes = services.BODY_BYTES

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="rotate_vault", request=RotationSerializer, responses=VaultSerializer)
    def rotate(self, request: Request, vault_id: UUID) -> Response:
        """Replace the key of a vault: its own record and every item sealed anew, or nothing at all.

        Former versions and what lies in its trash go, because the old key opened them; your other sessions
        end.
        """
        given = self.validated(RotationSerializer)
        items = {item["item_id"]: item["sealed"] for item in given["items"]}
        if len(items) != len(given["items"]):
            raise Invalid([FieldProblem("/items", "twice", "An item comes twice.")])
        vault = services.rotate(
            self.vault(),
            given["sealed"],
            items,
            actor=self.actor,
            session_id=self.session_id,
            now=timezone.now(),
            if_match=if_match(request),
        )
        return self.shown(VaultSerializer, vault)


class PasswordViewSet(ApiViewSet):
    serializer_class = NewPasswordSerializer
    max_body_bytes = 3 * 1024 * 1024  # 100 records in base64

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="change_vault_password", request=NewPasswordSerializer, responses=SignedInSerializer
    )
    def update(self, request: Request) -> Response:
        """Replace the password of a blind account that has vaults: as `POST /auth/password/change`, with each
        vault's own record sealed anew, those in the trash too. Every session ends, and this device gets a new
        one.
        """
        given = self.validated(NewPasswordSerializer)
        device = device_of(request)
        now = timezone.now()
        records = {vault["vault_id"]: vault["sealed"] for vault in given["vaults"]}
        if len(records) != len(given["vaults"]):
            raise Invalid([FieldProblem("/vaults", "twice", "A vault comes twice.")])
        user = self.caller.row()
        check_credentials(user.email, given["secret"], scheme=given["scheme"], device=device)
        set_password(
            user.pk, given["password"], kdf=given["kdf"], actor=actors.user(user), now=now, brought=records
        )
        user.refresh_from_db()
        return signed_in(
            request, open_session(user, device=device, now=now, method="password change", quietly=True)
        )


class ItemViewSet(VaultApiViewSet):
    serializer_class = ItemSerializer

    def items(self) -> Any:
        return Item.objects.filter(vault=self.vault(), purged_at=None)

    def item(self, *, deleted: bool = False) -> Item:
        rows = self.items().filter(deleted_at__isnull=not deleted)
        found: Item = get_object_or_404(rows, item_id=self.kwargs["item_id"])
        return found

    def bare(self) -> Item:
        """The item without its ciphertext, for what does not read that."""
        found: Item = get_object_or_404(
            self.items().defer("ciphertext"), item_id=self.kwargs["item_id"], deleted_at=None
        )
        return found

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="list_vault_items", parameters=[TRASH], responses=ItemHeadSerializer(many=True)
    )
    def list(self, request: Request, vault_id: UUID) -> Response:
        """The items of a vault without their envelopes, newest first."""
        found = self.items().filter(deleted_at__isnull=not self.trash()).annotate(size=Length("ciphertext"))
        return self.page(found.defer("ciphertext"), ItemHeadSerializer)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(
        operation_id="create_vault_item", request=NewItemSerializer, responses={201: ItemSerializer}
    )
    def create(self, request: Request, vault_id: UUID) -> Response:
        """Put something into a vault under an id of your choice.

        The same one sent again is the same one. If-Match has the version of the vault whose key sealed it:
        after a change of the key it is refused.
        """
        given = self.validated(NewItemSerializer)
        made, _ = services.create_item(
            self.vault(), given["item_id"], given["sealed"], actor=self.actor, if_match=if_match(request)
        )
        return self.shown(ItemSerializer, made, status=201)

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault_item", parameters=[TRASH], responses=ItemSerializer)
    def retrieve(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """An item."""
        return self.shown(ItemSerializer, self.item(deleted=self.trash()))

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_vault_item", request=SealedSerializer, responses=ItemSerializer)
    def update(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """Replace an item by its next version. The last ten are kept."""
        sealed = self.validated(SealedSerializer)["sealed"]
        item = services.change_item(self.bare(), sealed, actor=self.actor, if_match=if_match(request))
        return self.shown(ItemSerializer, item)

    @action_policy(scope=VAULT_WRITE, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_vault_item", parameters=[TRASH], responses={204: None})
    def destroy(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """Put an item into the trash.

        It is purged after 30 days; or now, if it is in the trash and `deleted=true` says so.
        """
        now = timezone.now()
        wanted = if_match(request)
        if self.trash():
            services.purge_item(self.item(deleted=True), actor=self.actor, now=now, if_match=wanted)
        else:
            services.delete_item(self.bare(), actor=self.actor, now=now, if_match=wanted)
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
        """Take an item out of the trash, as it was."""
        found = get_object_or_404(self.items().exclude(deleted_at=None), item_id=item_id)
        return self.shown(ItemSerializer, services.restore_item(found, actor=self.actor))

    @action_policy(scope=VAULT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="vault_item_versions", responses=FormerVersionSerializer(many=True))
    def versions(self, request: Request, vault_id: UUID, item_id: UUID) -> Response:
        """What an item was before, newest first: at most ten."""
        former = FormerVersion.objects.filter(item=self.bare())
        return Response({"results": FormerVersionSerializer(former, many=True).data}, headers=NO_STORE)
