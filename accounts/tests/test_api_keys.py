"""API keys: issuing, verifying, scopes, limits, revoking."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.credentials import api_keys
from accounts.models import ApiKey, Role, User
from accounts.services import api_keys as api_keys_services
from accounts.services import roles, sessions, users
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from conftest import sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.storage import redis
from sites.models import Site
from sites.tests.factories import SiteFactory
from tests.operations import OPERATIONS_WITH_SCHEMAS

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_key_cache():
    """Empty the key caches of this process."""
    api_keys._principals.clear()
    api_keys._recently_used.clear()


def issue(api, *scopes, **values):
    response = api.post("api-keys", {"label": "Robot", "scopes": list(scopes) or ["sites.read"], **values})
    assert response.status_code == 201, response.content
    return response.json()


def call_with_key(key, path="sites", method="GET", body=None, **client_options):
    headers = {"Authorization": f"Bearer {key}", "If-Match": "*"}
    return Client(**client_options).generic(
        method, f"/api/v1/{path}", body or "", content_type="application/json", headers=headers
    )


def test_create_api_key_shows_the_text_once_and_stores_a_digest(api):
    created = issue(api)

    assert api_keys.KEY_PATTERN.fullmatch(created["key"])
    assert created["key"].startswith(f"gys_dev_{created['prefix']}_")
    listed = api.get("api-keys").content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT k::text FROM accounts_apikey k")
        stored = str(cursor.fetchall())
    secret = created["key"].split("_")[3]
    assert secret not in listed + stored
    assert created["key"][:-6] not in stored


def test_api_key_acts_as_its_owner_within_its_scopes(api):
    SiteFactory(owner=api.user, name="Mine")
    SiteFactory(name="Not mine")
    key = issue(api, "sites.read")["key"]

    assert [row["name"] for row in call_with_key(key).json()["results"]] == ["Mine"]
    refused = call_with_key(key, method="POST", body='{"name": "x", "subdomain": "xyz-made"}')
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert (
        call_with_key(
            issue(api, "sites.write")["key"], method="POST", body='{"name": "x", "subdomain": "xyz-made"}'
        ).status_code
        == 201
    )


def test_api_key_is_recorded_as_the_actor(api):
    key = issue(api, "sites.write")
    call_with_key(key["key"], method="POST", body='{"name": "x", "subdomain": "by-a-robot"}')

    entry = Entry.objects.get(event="site.created", owner_id=api.user.pk)
    assert (entry.actor_kind, entry.actor_id, str(entry.session_id)) == ("key", api.user.pk, key["id"])


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "none", "upper"])
def test_verify_cached_key_refuses_a_wrong_checksum_without_sql(api, change):
    key = issue(api)["key"]
    invalid = {
        "flip": key[:20] + ("a" if key[20] != "a" else "b") + key[21:],
        "cut": key[:-1],
        "longer": key + "0",
        "none": "gys_",
        "upper": key.upper().replace("GYS", "gys"),
    }[change]

    with CaptureQueriesContext(connection) as queries:
        response = call_with_key(invalid)

    assert (response.status_code, response.json()["code"], len(queries)) == (401, "api_key_refused", 0)
    assert "WWW-Authenticate" in response


def test_verify_key_in_database_refuses_an_unknown_key_on_public_routes_too(api):
    _, unknown_key = api_keys.generate_key()

    assert [
        call_with_key(unknown_key, path).status_code for path in ("sites", "config", "site-templates")
    ] == [401] * 3


def test_verify_cached_key_runs_no_sql(api):
    key = issue(api, "account.read")["key"]
    call_with_key(key, "auth/me")

    with CaptureQueriesContext(connection) as queries:
        assert call_with_key(key, "auth/me").status_code == 200

    assert [query["sql"] for query in queries if "apikey" in query["sql"]] == []


def test_revoke_api_key_ends_the_key_at_once_and_for_good(api):
    created = issue(api)
    assert call_with_key(created["key"]).status_code == 200

    assert api.delete(f"api-keys/{created['id']}").status_code == 204

    assert call_with_key(created["key"]).json()["code"] == "api_key_refused"
    redis.client().flushdb()
    api_keys._principals.clear()
    assert call_with_key(created["key"]).json()["code"] == "api_key_refused"
    assert api.delete(f"api-keys/{created['id']}").status_code == 404


def test_restore_tombstones_ends_revoked_api_keys_after_redis_lost_its_data(api):
    created = issue(api)
    call_with_key(created["key"])
    ApiKey.objects.update(revoked_at=timezone.now())
    redis.client().flushdb()

    assert call_with_key(created["key"]).json()["code"] == "api_key_refused"


def test_verify_key_in_database_refuses_an_expired_key(api):
    created = issue(api, expires_at=(timezone.now() + timedelta(hours=1)).isoformat())
    assert call_with_key(created["key"]).status_code == 200
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    api_keys._principals.clear()

    assert call_with_key(created["key"]).status_code == 401
    assert (
        api.post(
            "api-keys", {"label": "x", "scopes": ["sites.read"], "expires_at": "2020-01-01T00:00:00Z"}
        ).status_code
        == 400
    )


@pytest.mark.parametrize(
    ("networks", "address", "status"),
    [
        (["203.0.113.0/24"], "203.0.113.9", 200),
        (["203.0.113.0/24"], "203.0.114.9", 403),
        (["203.0.113.7"], "203.0.113.7", 200),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", 200),
        (["2001:db8::/32"], "2001:db8::1", 200),
        (["2001:db8::/32"], "203.0.113.9", 403),
    ],
)
def test_api_key_networks_limit_client_addresses(api, networks, address, status):
    key = issue(api, networks=networks)["key"]

    assert [call_with_key(key, REMOTE_ADDR=address).status_code for _ in range(2)] == [status] * 2


@pytest.mark.parametrize(
    "invalid",
    [
        {"networks": ["x"]},
        {"networks": ["203.0.113.7/24"]},
        {"scopes": []},
        {"scopes": ["no.such"]},
        {"scopes": ["admin.access"]},
        {"requests_per_minute": 0},
        {"label": ""},
    ],
)
def test_create_api_key_refuses_invalid_values(api, invalid):
    assert api.post("api-keys", {"label": "x", "scopes": ["sites.read"], **invalid}).status_code == 400


def test_api_key_requests_per_minute_limits_the_key(api):
    key = issue(api, requests_per_minute=3)["key"]

    responses = [call_with_key(key) for _ in range(6)]

    assert [response.status_code for response in responses] == [200] * 4 + [429] * 2, (
        "the first request is counted for its network"
    )
    assert responses[1]["RateLimit-Limit"] == "3"
    assert api.get("sites").status_code == 200


EVERY_SCOPE = [
    "sites.read",
    "sites.write",
    "sites.publish",
    "account.read",
    "users.read",
    "users.write",
    "roles.read",
    "audit.read",
    "logs.read",
]


def test_api_key_is_refused_on_routes_without_a_scope():
    """The routes come from the OpenAPI document, so that a new one is covered."""
    admin = sign_in(UserFactory(role="admin"))
    key = issue(admin, *EVERY_SCOPE)["key"]
    open_to_keys = set()
    refused = set()
    for method, path, operation in OPERATIONS_WITH_SCHEMAS:
        if {} in operation.get("security", [{}]) or not operation.get("security"):
            continue
        response = call_with_key(
            key, re.sub(r"\{\w+\}", str(admin.user.pk), path.removeprefix("/api/v1/")), method.upper(), "{}"
        )
        is_refused = response.status_code == 403 and response.json()["code"] == "api_key_not_allowed"
        (refused if is_refused else open_to_keys).add(path)

    forbidden_paths = {
        path
        for _, path, _ in OPERATIONS_WITH_SCHEMAS
        if path.startswith(("/api/v1/auth/", "/api/v1/api-keys"))
    } - {"/api/v1/auth/me", "/api/v1/auth/me/usage"}
    assert not open_to_keys & forbidden_paths
    assert {"/api/v1/auth/me", "/api/v1/sites", "/api/v1/users", "/api/v1/audit"} <= open_to_keys
    assert User.objects.get(pk=admin.user.pk).deleted_at is None


def test_issue_api_key_grants_no_permission_that_its_owner_lacks(api):
    refused = api.post("api-keys", {"label": "x", "scopes": ["sites.read", "users.read"]})
    assert refused.json()["code"] == "beyond_your_rights"

    admin = sign_in(UserFactory(role="admin"))
    UserFactory(role="admin")
    key = issue(admin, "users.read")["key"]
    assert call_with_key(key, "users").status_code == 200
    roles.set_roles(admin.user.pk, {"user"}, actor=SYSTEM, now=timezone.now())
    assert call_with_key(key, "users").json()["code"] == "permission_denied"


def test_permissions_of_caller_limits_an_admins_api_key_to_its_scopes():
    admin = sign_in(UserFactory(role="admin"))
    key = issue(admin, "users.write")["key"]
    other_user = UserFactory()
    Role.objects.create(name="writers", permissions=["users.write"])

    responses = [
        call_with_key(key, f"users/{other_user.pk}/roles", "PUT", '{"roles": ["admin"]}'),
        call_with_key(key, f"users/{other_user.pk}/roles", "PUT", '{"roles": ["support"]}'),
        call_with_key(key, "users", "POST", '{"email": "x@example.com", "roles": ["admin"]}'),
        call_with_key(key, f"users/{admin.user.pk}", "PATCH", '{"name": "x"}'),
    ]

    assert [response.json()["code"] for response in responses] == ["beyond_your_rights"] * 4
    assert (
        call_with_key(key, f"users/{other_user.pk}/roles", "PUT", '{"roles": ["writers"]}').status_code == 200
    )


def test_api_key_is_live_only_while_its_owner_is_active(api):
    key = issue(api)["key"]
    assert call_with_key(key).status_code == 200

    sessions.close_all_sessions(api.user.pk, actor=SYSTEM, now=timezone.now())
    assert call_with_key(key).status_code == 200, "signing out does not end keys"
    users.set_active(api.user.pk, False, actor=SYSTEM, now=timezone.now())
    assert call_with_key(key).status_code == 401
    users.set_active(api.user.pk, True, actor=SYSTEM, now=timezone.now())
    assert call_with_key(key).status_code == 200
    users.delete_user(api.user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    assert call_with_key(key).status_code == 401


def test_record_key_use_writes_at_most_once_a_minute(api):
    created = issue(api)

    with CaptureQueriesContext(connection) as queries:
        for _ in range(5):
            call_with_key(created["key"])

    assert len([query for query in queries if query["sql"].startswith('UPDATE "accounts_apikey"')]) == 1
    first_used_at = ApiKey.objects.get().last_used_at
    api_keys._recently_used.clear()  # as in another process
    call_with_key(created["key"])
    assert ApiKey.objects.get().last_used_at == first_used_at


@pytest.mark.commits
def test_issue_api_key_counts_parallel_requests(api):
    for _ in range(49):
        api_keys_services.issue_api_key(
            api.user.pk, actor=SYSTEM, now=timezone.now(), label="x", scopes=["sites.read"]
        )

    def create_key(_):
        try:
            return api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create_key, range(12))) == [201] + [409] * 11


def test_api_keys_list_and_destroy_hide_keys_of_other_users(api, other):
    created = issue(api)

    assert other.get("api-keys").json()["results"] == []
    assert other.delete(f"api-keys/{created['id']}").status_code == 404
    assert call_with_key(created["key"]).status_code == 200


def test_api_key_cannot_read_sites_of_other_users(api, other):
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.count() == 0
    site = SiteFactory(owner=other.user)
    key = issue(api, "sites.read", "sites.write", "sites.publish")["key"]

    responses = [
        call_with_key(key, f"sites/{site.pk}"),
        call_with_key(key, f"sites/{site.pk}/blueprint"),
        call_with_key(key, f"sites/{site.pk}/publish", "POST"),
    ]
    assert [response.status_code for response in responses] == [404] * 3
