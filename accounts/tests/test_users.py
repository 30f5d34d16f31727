"""Users over HTTP, as an administrator sees them."""

import pytest
from django.test import Client

from accounts.models import User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail, token_in_mail
from conftest import PASSWORD, sign_in

pytestmark = pytest.mark.django_db


def emails_in(response):
    return [row["email"] for row in response.json()["results"]]


def test_users_list_applies_every_filter(admin):
    UserFactory(email="young@example.com", name="Zoe Young", age=20, role="seller")
    UserFactory(email="old@example.com", name="Yan Old", age=80, role="buyer", is_active=False)
    UserFactory(email="ageless@example.com", name="Xa", deleted_at="2030-01-01T00:00:00Z")

    emails_by_query = {
        query: emails_in(admin.get(f"users?{query}"))
        for query in (
            "search=yan",
            "search=YOUNG@",
            "role=seller",
            "is_active=false",
            "min_age=51",
            "max_age=20",
            "min_age=20&max_age=50",
        )
    }

    assert emails_by_query == {
        "search=yan": ["old@example.com"],
        "search=YOUNG@": ["young@example.com"],
        "role=seller": ["young@example.com"],
        "is_active=false": ["old@example.com"],
        "min_age=51": ["old@example.com"],
        "max_age=20": ["young@example.com"],
        "min_age=20&max_age=50": ["young@example.com", "admin@example.com"],
    }


@pytest.mark.parametrize(
    "query",
    [
        "min_age=-1",
        "max_age=151",
        "min_age=x",
        "min_age=٣",
        "is_active=yes",
        "search=",
        "role=" + "x" * 101,
        "order=email",
        "ordering=password",
        "ordering=--email",
        "ordering=",
        "cursor=x",
        "cursor=W10",
        "limit=0",
    ],
)
def test_users_list_refuses_invalid_parameters(admin, query):
    assert admin.get(f"users?{query}").status_code == 400


@pytest.mark.parametrize("ordering", ["email", "-email", "name", "-name", "age", "-age", None])
def test_users_list_pages_in_both_directions_in_every_ordering(admin, ordering):
    for number in range(11):
        UserFactory(
            email=f"u{number % 4}-{number}@example.com",
            name=["Same", "Ünder", ""][number % 3],
            age=[None, 5, 30][number % 3],
        )
    all_ids = {str(pk) for pk in User.objects.values_list("pk", flat=True)}

    def collect_pages(address, direction):
        pages = []
        while address:
            body = admin.get(address).json()
            pages.append([row["id"] for row in body["results"]])
            address = body[direction]
            last = body
        return pages, last

    forward, last = collect_pages(f"users?limit=4{f'&ordering={ordering}' if ordering else ''}", "next")
    backward, _ = collect_pages(last["previous"], "previous")

    ids = [pk for page in forward for pk in page]
    assert (len(ids), set(ids)) == (12, all_ids)
    assert [pk for page in reversed(backward) for pk in page] + forward[-1] == ids
    if ordering:
        field = ordering.lstrip("-")
        values = [getattr(User.objects.get(pk=pk), field) for pk in ids]
        values = [-1 if value is None else value for value in values]
        assert values == sorted(values, reverse=ordering.startswith("-"))


def test_users_list_refuses_a_cursor_of_another_ordering(admin):
    UserFactory.create_batch(3)
    cursor = (
        admin.get("users?limit=1&ordering=email").json()["next"].partition("cursor=")[2].partition("&")[0]
    )

    assert admin.get(f"users?ordering=age&cursor={cursor}").status_code == 400
    assert admin.get(f"users?cursor={cursor}").status_code == 400


@pytest.mark.parametrize("rows", [1, 3])
def test_users_list_runs_four_queries(admin, rows, django_assert_num_queries):
    UserFactory.create_batch(rows)
    admin.get("roles")  # fills the cache of the admission middleware

    with django_assert_num_queries(4):  # caller and roles, page and roles
        admin.get("users")


def test_users_list_and_retrieve_contain_no_secrets(admin):
    UserFactory(email="x@example.com")
    for path in ("users", f"users/{admin.user.pk}", "roles", "auth/sessions", "api-keys", "auth/me"):
        body = admin.get(path).content.decode()
        assert '"password":' not in body.replace(" ", "")
        assert "argon2" not in body


def test_create_user_mails_a_link_to_choose_a_password(admin):
    created = admin.post(
        "users", {"email": "Guest@example.com", "name": "Guest", "age": 30, "roles": ["seller"]}
    )

    assert (created.status_code, created.json()["roles"], created["ETag"]) == (201, ["seller"], '"1"')
    assert post_auth(Client(), "login", {"email": "guest@example.com", "password": ""}).status_code in {
        400,
        401,
    }
    (mail,) = deliver_and_read_mails("guest@example.com")
    assert subject_of_mail(mail) == "Choose a new password"
    post_auth(Client(), "password/reset", {"token": token_in_mail(mail), "password": PASSWORD})
    signed_in = post_auth(Client(), "login", {"email": "guest@example.com", "password": PASSWORD})
    assert (signed_in.status_code, signed_in.json()["user"]["email_verified"]) == (200, True)
    assert admin.post("users", {"email": "guest@example.com"}).json()["code"] == "email_taken"
    assert admin.post("users", {"email": "x@example.com", "roles": ["none"]}).status_code == 400


def test_users_update_and_partial_update_require_the_version(admin):
    user = UserFactory(age=30)
    path = f"users/{user.pk}"

    assert admin.put(path, {"name": "A", "age": None, "is_active": True}).status_code == 428
    assert admin.put(path, {"name": "A", "age": None, "is_active": True}, if_match=9).status_code == 412
    assert admin.put(path, {"name": "A"}, if_match=1).status_code == 400
    replaced = admin.put(path, {"name": "A", "age": None, "is_active": True}, if_match=1)
    changed = admin.patch(path, {"age": 31}, if_match=2)

    assert [replaced.json()[name] for name in ("name", "age", "version")] == ["A", None, 2]
    assert [changed.json()[name] for name in ("name", "age", "version")] == ["A", 31, 3]


def test_users_partial_update_ends_sessions_of_a_disabled_account(admin):
    user = sign_in(UserFactory())

    assert (
        admin.patch(f"users/{user.user.pk}", {"is_active": False}, if_match="*").json()["is_active"] is False
    )

    assert user.get("auth/me").status_code == 401


def test_users_destroy_hides_the_account_and_ends_its_sessions(admin):
    user = sign_in(UserFactory())

    assert admin.delete(f"users/{user.user.pk}", if_match="*").status_code == 204

    assert user.get("auth/me").status_code == 401
    assert admin.get(f"users/{user.user.pk}").status_code == 404
    assert emails_in(admin.get("users")) == ["admin@example.com"]


def test_caller_may_requires_a_second_factor_of_staff(admin, settings, password_hash):
    settings.STAFF_MFA_REQUIRED = True

    assert admin.get("users").json()["code"] == "mfa_enrolment_required"
    assert admin.get("auth/me").status_code == 200
    from tests.world import World

    World(admin, None, None, None).add_totp()
    assert admin.get("users").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=00000100000",
        "limit=1" + "9" * 5000,
        "cursor=" + "W1tb" * 400,
        "ordering=email&cursor=WyJuIiwgIjAxYTFmZGFkLWNhOGUtN2I0YS1hZDNhLTc4ZjZiMjYyNmUyMyIsICJcdWQ4MDAiXQ",
    ],
)
def test_users_list_refuses_hostile_cursors(admin, query):
    assert admin.get(f"users?{query}").status_code == 400
