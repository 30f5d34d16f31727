"""Roles and permissions over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import Role, Session, User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import api_with_permissions
from audit.models import Entry
from conftest import sign_in

pytestmark = pytest.mark.django_db


def test_set_roles_and_change_role_take_effect_on_the_next_request(admin):
    user = sign_in(UserFactory())
    assert user.get("users").status_code == 403

    admin.put(f"users/{user.user.pk}/roles", {"roles": ["support"]}, if_match="*")
    assert user.get("users").json()["code"] == "token_revoked"
    signed_in_again = sign_in(User.objects.get(pk=user.user.pk))
    assert signed_in_again.get("users").status_code == 200

    role = Role.objects.create(name="readers", permissions=["users.read"])
    admin.put(f"users/{user.user.pk}/roles", {"roles": ["readers"]}, if_match="*")
    reader = sign_in(User.objects.get(pk=user.user.pk))
    assert reader.get("users").status_code == 200
    admin.put(f"roles/{role.pk}", {"name": "readers", "permissions": ["roles.read"]}, if_match="*")
    assert [reader.get(path).status_code for path in ("users", "roles")] == [403, 200]


def test_require_another_admin_protects_the_last_admin_in_every_operation(admin):
    path = f"users/{admin.user.pk}"
    responses = [
        admin.put(f"{path}/roles", {"roles": ["user"]}, if_match="*"),
        admin.put(path, {"name": "", "age": None, "is_active": False}, if_match="*"),
        admin.patch(path, {"is_active": False}, if_match="*"),
        admin.delete(path, if_match="*"),
        admin.delete("auth/me", if_match="*"),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (409, "last_admin")
    ] * 5
    assert admin.get("users").status_code == 200


def test_require_permissions_within_limits_every_operation(admin):
    helper = api_with_permissions("users.read", "users.write", "roles.read", "roles.write")
    victim = UserFactory(role="support")
    other_user = UserFactory()
    stronger_role = Role.objects.create(name="strong", permissions=["logs.read"])
    responses = [
        helper.put(f"users/{other_user.pk}/roles", {"roles": ["admin"]}, if_match="*"),
        helper.put(f"users/{helper.user.pk}/roles", {"roles": ["admin"]}, if_match="*"),
        helper.put(f"users/{victim.pk}/roles", {"roles": []}, if_match="*"),
        helper.patch(f"users/{admin.user.pk}", {"is_active": False}, if_match="*"),
        helper.patch(f"users/{victim.pk}", {"name": "x"}, if_match="*"),
        helper.delete(f"users/{victim.pk}", if_match="*"),
        helper.post("users", {"email": "x@example.com", "roles": ["admin"]}),
        helper.post("roles", {"name": "mine", "permissions": ["logs.read"]}),
        helper.put(f"roles/{stronger_role.pk}", {"name": "weak", "permissions": []}, if_match="*"),
        helper.delete(f"roles/{stronger_role.pk}", if_match="*"),
    ]

    assert [response.json()["code"] for response in responses] == ["beyond_your_rights"] * 10
    assert helper.put(f"users/{other_user.pk}/roles", {"roles": ["seller"]}, if_match="*").status_code == 200
    assert Entry.objects.filter(actor_id=helper.user.pk, event="user.roles_changed").count() == 1
    assert not User.objects.filter(email="x@example.com").exists()


def test_roles_create_update_and_destroy(admin):
    created = admin.post("roles", {"name": "editors", "permissions": ["users.read", "users.read"]})
    path = f"roles/{created.json()['id']}"
    assert (created.status_code, created.json()["permissions"], created["ETag"]) == (
        201,
        ["users.read"],
        '"1"',
    )

    assert admin.post("roles", {"name": "editors", "permissions": []}).json()["code"] == "role_taken"
    assert admin.post("roles", {"name": "Wrong Name", "permissions": []}).status_code == 400
    assert admin.post("roles", {"name": "x-files", "permissions": ["no.such"]}).status_code == 400
    assert admin.put(path, {"name": "editors", "permissions": []}).status_code == 428
    assert admin.put(path, {"name": "editors", "permissions": []}, if_match=1).json()["version"] == 2
    user = UserFactory()
    user.roles.add(Role.objects.get(name="editors"))
    assert admin.delete(path, if_match=2).json()["code"] == "role_in_use"
    user.roles.clear()
    assert admin.delete(path, if_match=1).status_code == 412
    assert admin.delete(path, if_match=2).status_code == 204


def test_change_role_and_delete_role_refuse_built_in_roles(admin):
    for role in Role.objects.filter(built_in=True):
        assert admin.delete(f"roles/{role.pk}", if_match="*").json()["code"] == "role_built_in"
        changed = admin.put(f"roles/{role.pk}", {"name": role.name, "permissions": []}, if_match="*")
        assert changed.json()["code"] == "role_built_in"

    names = ["admin", "agent", "buyer", "manager", "seller", "support", "tenant", "user"]
    assert sorted(Role.objects.filter(built_in=True).values_list("name", flat=True)) == names


def test_roles_permissions_lists_permissions_and_scopes(admin):
    body = admin.get("permissions").json()

    assert {"code": "users.read", "meaning": "See all accounts"} in body["permissions"]
    assert {"sites.read", "sites.write", "sites.publish", "users.read"} <= {
        row["code"] for row in body["scopes"]
    }
    assert "admin.access" not in {row["code"] for row in body["scopes"]}


def test_recent_proof_is_required_to_change_users_and_roles(admin):
    Session.objects.update(proved_at=timezone.now() - timedelta(minutes=6))
    user = UserFactory()

    responses = [
        admin.put(f"users/{user.pk}/roles", {"roles": ["admin"]}, if_match="*"),
        admin.post("users", {"email": "x@example.com", "roles": ["admin"]}),
        admin.delete(f"users/{user.pk}", if_match="*"),
        admin.post("roles", {"name": "made", "permissions": []}),
    ]

    assert [response.json()["code"] for response in responses] == ["reauthentication_required"] * 4
    assert admin.get("users").status_code == 200


def test_change_role_ignores_permissions_that_no_longer_exist(admin):
    role = Role.objects.create(name="old", permissions=["gone.long-ago"])

    assert admin.put(f"roles/{role.pk}", {"name": "old", "permissions": []}, if_match="*").status_code == 200


def test_set_roles_refuses_a_user_with_more_permissions(admin):
    helper = api_with_permissions("users.read", "users.write")

    response = helper.put(f"users/{admin.user.pk}/roles", {"roles": ["admin", "seller"]}, if_match="*")

    assert response.json()["code"] == "beyond_your_rights"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("PATCH", "", {"is_active": False}), ("DELETE", "", None)),
        (("PUT", "/roles", {"roles": ["admin"]}), ("PATCH", "", {"is_active": False})),
        (("PUT", "/roles", {"roles": ["user"]}), ("DELETE", "", None)),
    ],
)
@pytest.mark.commits
def test_change_user_set_roles_and_delete_user_in_parallel_do_not_deadlock(admin, first, second):
    for _ in range(6):
        user = UserFactory(role="admin")

        def send(change, user=user):
            method, tail, body = change
            try:
                return admin.call(method, f"users/{user.pk}{tail}", body, if_match="*").status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            statuses = set(pool.map(send, [first, second]))
        assert statuses <= {200, 204, 404}


@pytest.mark.commits
def test_delete_role_and_set_roles_in_parallel_stay_consistent(admin):
    for number in range(6):
        role = Role.objects.create(name=f"fleeting-{number}", permissions=[])
        user = UserFactory()

        def send(change, role=role, user=user):
            try:
                if change == "give":
                    return admin.put(
                        f"users/{user.pk}/roles", {"roles": [role.name]}, if_match="*"
                    ).status_code
                return admin.delete(f"roles/{role.pk}", if_match="*").status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            statuses = tuple(pool.map(send, ["give", "delete"]))
        assert statuses in {(200, 204), (200, 409), (400, 204)}
