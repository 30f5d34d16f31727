"""Users and roles over HTTP: for who may, and within what they may."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import Role, Session, User
from accounts.tests.calls import link_token, mails_to, post, subject
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import PASSWORD, ApiClient, sign_in

pytestmark = pytest.mark.django_db


def holder(*permissions: str) -> ApiClient:
    """Somebody with a role that holds these."""
    role = Role.objects.create(
        name=f"own-{len(permissions)}-{Role.objects.count()}", permissions=list(permissions)
    )
    user = UserFactory()
    user.roles.set([role])
    return sign_in(user)


@pytest.fixture
def admin():
    return sign_in(UserFactory(email="admin@example.com", name="Ada", role="admin", age=50))


def emails(answer):
    return [row["email"] for row in answer.json()["results"]]


def test_users_are_found_by_every_filter(admin):
    UserFactory(email="young@example.com", name="Zoe Young", age=20, role="seller")
    UserFactory(email="old@example.com", name="Yan Old", age=80, role="buyer", is_active=False)
    UserFactory(email="ageless@example.com", name="Xa", deleted_at="2030-01-01T00:00:00Z")

    found = {
        query: emails(admin.get(f"users?{query}"))
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

    assert found == {
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
def test_anything_else_is_refused(admin, query):
    assert admin.get(f"users?{query}").status_code == 400


@pytest.mark.parametrize("ordering", ["email", "-email", "name", "-name", "age", "-age", None])
def test_every_ordering_pages_forth_and_back_without_gap_or_repetition(admin, ordering):
    for number in range(11):
        UserFactory(
            email=f"u{number % 4}-{number}@example.com",
            name=["Same", "Ünder", ""][number % 3],
            age=[None, 5, 30][number % 3],
        )
    everybody = {str(pk) for pk in User.objects.values_list("pk", flat=True)}

    def walk(address, way):
        pages = []
        while address:
            body = admin.get(address).json()
            pages.append([row["id"] for row in body["results"]])
            address = body[way]
            last = body
        return pages, last

    forth, last = walk(f"users?limit=4{f'&ordering={ordering}' if ordering else ''}", "next")
    back, _ = walk(last["previous"], "previous")

    ids = [pk for page in forth for pk in page]
    assert (len(ids), set(ids)) == (12, everybody)
    assert [pk for page in reversed(back) for pk in page] + forth[-1] == ids
    if ordering:
        field = ordering.lstrip("-")
        values = [getattr(User.objects.get(pk=pk), field) for pk in ids]
        values = [-1 if value is None else value for value in values]
        assert values == sorted(values, reverse=ordering.startswith("-"))


def test_a_cursor_of_one_ordering_is_none_for_another(admin):
    UserFactory.create_batch(3)
    cursor = (
        admin.get("users?limit=1&ordering=email").json()["next"].partition("cursor=")[2].partition("&")[0]
    )

    assert admin.get(f"users?ordering=age&cursor={cursor}").status_code == 400
    assert admin.get(f"users?cursor={cursor}").status_code == 400


@pytest.mark.parametrize("rows", [1, 3])
def test_the_list_costs_four_queries(admin, rows, django_assert_num_queries):
    UserFactory.create_batch(rows)
    admin.get("roles")  # so that Redis knows who is signed out

    with django_assert_num_queries(4):  # caller and roles, page and roles
        admin.get("users")


def test_no_answer_has_a_password_or_a_token(admin):
    UserFactory(email="x@example.com")
    for path in ("users", f"users/{admin.user.pk}", "roles", "auth/sessions", "api-keys", "auth/me"):
        body = admin.get(path).content.decode()
        assert '"password":' not in body.replace(" ", "")
        assert "argon2" not in body


def test_an_account_made_by_staff_gets_a_link_to_choose_a_password(admin):
    made = admin.post(
        "users", {"email": "Guest@example.com", "name": "Guest", "age": 30, "roles": ["seller"]}
    )

    assert (made.status_code, made.json()["roles"], made["ETag"]) == (201, ["seller"], '"1"')
    assert post(Client(), "login", {"email": "guest@example.com", "password": ""}).status_code in {400, 401}
    (mail,) = mails_to("guest@example.com")
    assert subject(mail) == "Choose a new password"
    post(Client(), "password/reset", {"token": link_token(mail), "password": PASSWORD})
    signed_in = post(Client(), "login", {"email": "guest@example.com", "password": PASSWORD})
    assert (signed_in.status_code, signed_in.json()["user"]["email_verified"]) == (200, True)
    assert admin.post("users", {"email": "guest@example.com"}).json()["code"] == "email_taken"
    assert admin.post("users", {"email": "x@example.com", "roles": ["none"]}).status_code == 400


def test_put_replaces_patch_changes_and_both_need_the_version(admin):
    user = UserFactory(age=30)
    path = f"users/{user.pk}"

    assert admin.put(path, {"name": "A", "age": None, "is_active": True}).status_code == 428
    assert admin.put(path, {"name": "A", "age": None, "is_active": True}, if_match=9).status_code == 412
    assert admin.put(path, {"name": "A"}, if_match=1).status_code == 400
    replaced = admin.put(path, {"name": "A", "age": None, "is_active": True}, if_match=1)
    changed = admin.patch(path, {"age": 31}, if_match=2)

    assert [replaced.json()[name] for name in ("name", "age", "version")] == ["A", None, 2]
    assert [changed.json()[name] for name in ("name", "age", "version")] == ["A", 31, 3]


def test_a_disabled_account_is_signed_out_at_once(admin):
    person = sign_in(UserFactory())

    assert (
        admin.patch(f"users/{person.user.pk}", {"is_active": False}, if_match="*").json()["is_active"]
        is False
    )

    assert person.get("auth/me").status_code == 401


def test_a_deleted_account_is_absent_and_signed_out(admin):
    person = sign_in(UserFactory())

    assert admin.delete(f"users/{person.user.pk}", if_match="*").status_code == 204

    assert person.get("auth/me").status_code == 401
    assert admin.get(f"users/{person.user.pk}").status_code == 404
    assert emails(admin.get("users")) == ["admin@example.com"]


def test_a_changed_role_acts_on_the_next_request(admin):
    person = sign_in(UserFactory())
    assert person.get("users").status_code == 403

    admin.put(f"users/{person.user.pk}/roles", {"roles": ["support"]}, if_match="*")
    assert person.get("users").json()["code"] == "token_revoked"
    again = sign_in(User.objects.get(pk=person.user.pk))
    assert again.get("users").status_code == 200

    role = Role.objects.create(name="readers", permissions=["users.read"])
    admin.put(f"users/{person.user.pk}/roles", {"roles": ["readers"]}, if_match="*")
    reader = sign_in(User.objects.get(pk=person.user.pk))
    assert reader.get("users").status_code == 200
    admin.put(f"roles/{role.pk}", {"name": "readers", "permissions": ["roles.read"]}, if_match="*")
    assert [reader.get(path).status_code for path in ("users", "roles")] == [403, 200]


def test_the_last_admin_stays_whatever_way_is_tried(admin):
    path = f"users/{admin.user.pk}"
    tries = [
        admin.put(f"{path}/roles", {"roles": ["user"]}, if_match="*"),
        admin.put(path, {"name": "", "age": None, "is_active": False}, if_match="*"),
        admin.patch(path, {"is_active": False}, if_match="*"),
        admin.delete(path, if_match="*"),
        admin.delete("auth/me", if_match="*"),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in tries] == [(409, "last_admin")] * 5
    assert admin.get("users").status_code == 200


def test_nobody_gives_takes_or_touches_what_is_beyond_them(admin):
    helper = holder("users.read", "users.write", "roles.read", "roles.write")
    victim = UserFactory(role="support")
    plain = UserFactory()
    strong = Role.objects.create(name="strong", permissions=["logs.read"])
    tries = [
        helper.put(f"users/{plain.pk}/roles", {"roles": ["admin"]}, if_match="*"),
        helper.put(f"users/{helper.user.pk}/roles", {"roles": ["admin"]}, if_match="*"),
        helper.put(f"users/{victim.pk}/roles", {"roles": []}, if_match="*"),
        helper.patch(f"users/{admin.user.pk}", {"is_active": False}, if_match="*"),
        helper.patch(f"users/{victim.pk}", {"name": "x"}, if_match="*"),
        helper.delete(f"users/{victim.pk}", if_match="*"),
        helper.post("users", {"email": "x@example.com", "roles": ["admin"]}),
        helper.post("roles", {"name": "mine", "permissions": ["logs.read"]}),
        helper.put(f"roles/{strong.pk}", {"name": "weak", "permissions": []}, if_match="*"),
        helper.delete(f"roles/{strong.pk}", if_match="*"),
    ]

    assert [answer.json()["code"] for answer in tries] == ["beyond_your_rights"] * 10
    assert helper.put(f"users/{plain.pk}/roles", {"roles": ["seller"]}, if_match="*").status_code == 200
    assert Entry.objects.filter(actor_id=helper.user.pk, event="user.roles_changed").count() == 1
    assert not User.objects.filter(email="x@example.com").exists()


def test_roles_are_made_changed_and_deleted(admin):
    made = admin.post("roles", {"name": "editors", "permissions": ["users.read", "users.read"]})
    path = f"roles/{made.json()['id']}"
    assert (made.status_code, made.json()["permissions"], made["ETag"]) == (201, ["users.read"], '"1"')

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


def test_built_in_roles_stay_as_they_are(admin):
    for role in Role.objects.filter(built_in=True):
        assert admin.delete(f"roles/{role.pk}", if_match="*").json()["code"] == "role_built_in"
        changed = admin.put(f"roles/{role.pk}", {"name": role.name, "permissions": []}, if_match="*")
        assert changed.json()["code"] == "role_built_in"

    names = ["admin", "agent", "buyer", "manager", "seller", "support", "tenant", "user"]
    assert sorted(Role.objects.filter(built_in=True).values_list("name", flat=True)) == names


def test_permissions_and_scopes_are_listed_with_their_meaning(admin):
    body = admin.get("permissions").json()

    assert {"code": "users.read", "meaning": "See everybody's account"} in body["permissions"]
    assert {"sites.read", "sites.write", "sites.publish", "users.read"} <= {
        row["code"] for row in body["scopes"]
    }
    assert "admin.access" not in {row["code"] for row in body["scopes"]}


def test_staff_need_a_second_factor_where_the_installation_says_so(admin, settings, password_hash):
    settings.STAFF_MFA_REQUIRED = True

    assert admin.get("users").json()["code"] == "mfa_enrolment_required"
    assert admin.get("auth/me").status_code == 200
    from tests.world import World

    World(admin, None, None, None).add_totp()
    assert admin.get("users").status_code == 200


def test_sessions_show_device_browser_network_and_which_is_this(member):
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
    browser = Client(REMOTE_ADDR="203.0.113.77", headers={"User-Agent": chrome})
    access = post(browser, "login", {"email": member.email, "password": PASSWORD}).json()["access"]
    other = sign_in(member)

    listed = browser.get("/api/v1/auth/sessions", headers={"Authorization": f"Bearer {access}"}).json()[
        "results"
    ]

    assert [(row["device"], row["network"], row["current"]) for row in listed] == [
        ("An unknown program", "", False),
        ("Chrome on Windows", "203.0.113.0/24", True),
    ]
    assert "203.0.113.77" not in str(listed)
    ended = browser.delete(
        f"/api/v1/auth/sessions/{listed[0]['id']}", headers={"Authorization": f"Bearer {access}"}
    )
    assert ended.status_code == 204
    assert other.get("auth/me").json()["code"] == "token_revoked"
    assert (
        len(
            browser.get("/api/v1/auth/sessions", headers={"Authorization": f"Bearer {access}"}).json()[
                "results"
            ]
        )
        == 1
    )


def test_nobody_sees_or_ends_the_sessions_of_another(api, other):
    assert other.delete(f"auth/sessions/{api.session.pk}").status_code == 404
    assert api.get("auth/me").status_code == 200
    assert [row["id"] for row in other.get("auth/sessions").json()["results"]] == [str(other.session.pk)]


def test_rights_are_given_with_a_recent_proof_only(admin):
    Session.objects.update(proved_at=timezone.now() - timedelta(minutes=6))
    person = UserFactory()

    tries = [
        admin.put(f"users/{person.pk}/roles", {"roles": ["admin"]}, if_match="*"),
        admin.post("users", {"email": "x@example.com", "roles": ["admin"]}),
        admin.delete(f"users/{person.pk}", if_match="*"),
        admin.post("roles", {"name": "made", "permissions": []}),
    ]

    assert [answer.json()["code"] for answer in tries] == ["reauthentication_required"] * 4
    assert admin.get("users").status_code == 200


def test_a_role_with_a_permission_of_the_past_can_be_emptied(admin):
    role = Role.objects.create(name="old", permissions=["gone.long-ago"])

    assert admin.put(f"roles/{role.pk}", {"name": "old", "permissions": []}, if_match="*").status_code == 200


def test_somebody_beyond_ones_rights_is_not_touched_even_harmlessly(admin):
    helper = holder("users.read", "users.write")

    answer = helper.put(f"users/{admin.user.pk}/roles", {"roles": ["admin", "seller"]}, if_match="*")

    assert answer.json()["code"] == "beyond_your_rights"


@pytest.mark.parametrize(
    "query",
    [
        "limit=00000100000",
        "limit=1" + "9" * 5000,
        "cursor=" + "W1tb" * 400,
        "ordering=email&cursor=WyJuIiwgIjAxYTFmZGFkLWNhOGUtN2I0YS1hZDNhLTc4ZjZiMjYyNmUyMyIsICJcdWQ4MDAiXQ",
    ],
)
def test_hostile_pages_are_refused_not_broken(admin, query):
    assert admin.get(f"users?{query}").status_code == 400


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("PATCH", "", {"is_active": False}), ("DELETE", "", None)),
        (("PUT", "/roles", {"roles": ["admin"]}), ("PATCH", "", {"is_active": False})),
        (("PUT", "/roles", {"roles": ["user"]}), ("DELETE", "", None)),
    ],
)
@pytest.mark.commits
def test_two_changes_of_one_account_at_once_wait_and_do_not_fail(admin, first, second):
    for _ in range(6):
        person = UserFactory(role="admin")

        def act(change, person=person):
            method, tail, body = change
            try:
                return admin.call(method, f"users/{person.pk}{tail}", body, if_match="*").status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            statuses = set(pool.map(act, [first, second]))
        assert statuses <= {200, 204, 404}


@pytest.mark.commits
def test_a_role_that_is_deleted_while_it_is_given_is_given_or_not(admin):
    for number in range(6):
        role = Role.objects.create(name=f"fleeting-{number}", permissions=[])
        person = UserFactory()

        def act(change, role=role, person=person):
            try:
                if change == "give":
                    return admin.put(
                        f"users/{person.pk}/roles", {"roles": [role.name]}, if_match="*"
                    ).status_code
                return admin.delete(f"roles/{role.pk}", if_match="*").status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            statuses = tuple(pool.map(act, ["give", "delete"]))
        assert statuses in {(200, 204), (200, 409), (400, 204)}
