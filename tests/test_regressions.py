"""What an attack found once stays mended. Each test is named for what must hold."""

import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.db import connections
from django.db.models import ProtectedError
from django.test import Client
from django.utils import timezone

from accounts.credentials import revocation
from accounts.models import Role, User
from accounts.services import users
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from conftest import PASSWORD, sign_in
from core import lifecycle, tenancy
from core.http.json_parser import parse_json
from core.http.preconditions import ANY_VERSION
from core.storage import redis
from core.tasks import purge_deleted
from sites.models import Site
from sites.tests.factories import SiteFactory, document, page

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "body",
    [b'{"a":"' + b'\\"' * 2_000_000, b'{"a":"' + b"\\" * 4_000_001, b'"' * 4_000_000, b"[" * 8_000_000],
)
def test_reading_a_hostile_body_takes_time_in_proportion_to_its_length(body):
    from rest_framework.exceptions import ParseError

    with pytest.raises(ParseError):
        parse_json(body)


@pytest.mark.stack
def test_silent_bodies_on_every_thread_do_not_stop_pages(stack, person):
    _, host = person.publish()
    web = stack.webs[1]
    assert web.get("/", host).status_code == 200
    silent = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(16)]
    try:
        for connection in silent:
            connection.sendall(
                b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            )
        with ThreadPoolExecutor(8) as pool:
            answers = set(
                pool.map(
                    lambda path: web.get(*path).status_code,
                    [("/", host), ("/health/live",), ("/api/v1/config",)] * 8,
                )
            )
        refused = httpx.post(f"{web.url}/api/v1/auth/login", json={"email": "a", "password": "b"}, timeout=10)
    finally:
        for connection in silent:
            connection.close()

    assert (answers, refused.status_code, "Retry-After" in refused.headers) == ({200}, 503, True)


@pytest.mark.stack
def test_pages_not_read_before_answer_right_after_a_publish(stack, person):
    site, host = person.publish()
    paths = ["/", "/bread", "/our-story", "/sitemap.xml", "/favicon.svg", "/nothing"]
    for number in range(3):
        stack.webs[0].get("/", host)
        assert person.call("POST", f"sites/{site}/publish").status_code == 201
        statuses = {web.get(paths[number + 1], host).status_code for web in stack.webs for _ in range(4)}
        assert statuses == {200}
    assert person.call("POST", f"sites/{site}/unpublish").status_code == 200

    assert {web.get(path, host).status_code for web in stack.webs for path in ("/visit", "/favicon.svg")} <= {
        200,
        404,
    }


@pytest.mark.commits
def test_closing_an_account_while_it_makes_sites_leaves_none_and_the_purge_goes_on(api):
    def act(number):
        try:
            if number == 3:
                return api.delete("auth/me", if_match="*").status_code
            return api.post("sites", {"name": "x", "subdomain": f"race-{number}"}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(act, range(8)))

    assert statuses[3] == 204
    assert set(statuses) <= {201, 204, 401, 404}
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.alive().count() == 0


def test_one_account_that_cannot_be_purged_keeps_no_other(api, other, monkeypatch):
    long_ago = timezone.now() - timezone.timedelta(days=40)
    User.objects.filter(pk__in=[api.user.pk, other.user.pk]).update(deleted_at=long_ago)

    def left_something(person, addresses):  # as an app does that others refer to
        if person == api.user.pk:
            raise ProtectedError("referred to", set())
        return {}

    monkeypatch.setattr(lifecycle, "_erase_handlers", [*lifecycle._erase_handlers, left_something])
    purge_deleted.apply().get()

    assert list(User.objects.deleted().values_list("pk", flat=True)) == [api.user.pk]


def test_a_site_of_a_closed_account_is_not_restored_alone(api):
    site = SiteFactory(owner=api.user)
    users.delete_user(api.user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    from core.errors import NotFound
    from sites.services.sites import restore_site

    with tenancy.context(tenancy.SYSTEM), pytest.raises(NotFound):
        restore_site(Site.objects.get(pk=site.pk), actor=SYSTEM)


def test_what_was_kept_of_a_text_is_accepted_again(api):
    site = SiteFactory(owner=api.user)
    text = {"id": "t", "type": "text", "v": 1, "props": {"html": "&" * 20_000}}

    answer = api.put(f"sites/{site.pk}/blueprint", document(page("/", blocks=[text])), if_match=1)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (
        400,
        "/pages/0/blocks/0/props/html",
    )


def test_a_million_faults_are_counted_before_they_are_made(api):
    site = SiteFactory(owner=api.user)
    pages = [{"id": f"p{n}", "path": f"/p{n}", "title": "x", "blocks": [1] * 2000} for n in range(100)]

    answer = api.put(f"sites/{site.pk}/blueprint", document(pages=pages), if_match=1)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "too_many_blocks")


@pytest.mark.commits
def test_eight_parallel_goodbyes_are_one(api):
    def leave(_):
        try:
            return api.delete("auth/me", if_match="*").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(leave, range(8)))

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 401, 404}


@pytest.mark.parametrize(
    "origin", ["http://[", "http://[::1", "https://", "null", "\x7f", "http://testserver:80:80"]
)
def test_an_origin_that_is_none_is_refused(origin):
    answer = Client().post(
        "/api/v1/auth/refresh",
        b"{}",
        content_type="application/json",
        headers={"Origin": origin, "X-Requested-With": "x"},
    )

    assert answer.status_code == 403


@pytest.mark.parametrize("email", ["a@" + "ﷺ" * 60 + ".com", "a@b＠c.com", "a@x.℀.com"])
def test_an_address_must_be_one_after_it_was_normalised(email):
    answer = Client().post(
        "/api/v1/auth/register", {"email": email, "password": PASSWORD}, content_type="application/json"
    )

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/email")


def test_a_cursor_of_brackets_is_refused(api):
    import base64

    assert api.get("sites?cursor=" + base64.urlsafe_b64encode(b"[" * 40_000).decode()).status_code == 400


def test_an_older_epoch_does_not_take_the_place_of_a_newer_one(api):
    client = redis.client()
    revocation._raise_epochs(client, {api.user.pk: 5})
    revocation._raise_epochs(client, {api.user.pk: 4})

    assert client.get(f"epoch:{api.user.pk}") == b"5"


def test_news_that_redis_did_not_take_are_delivered_with_the_next_call_that_succeeds(settings):
    good = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    redis.client.cache_clear()
    assert not redis.deliver(lambda client: client.set("news", "1"))

    settings.REDIS_URL = good
    redis.client.cache_clear()
    redis.call(lambda client: client.ping())

    assert redis.client().get("news") == b"1"


@pytest.fixture
def staff(password_hash):
    user = UserFactory(email="staff@example.com", role="admin", password=password_hash)
    client = Client()
    client.user = user
    assert client.post("/admin/login/", {"username": user.email, "password": PASSWORD}).status_code == 302
    return client


def test_a_password_changed_in_the_admin_ends_every_other_session(staff):
    elsewhere = sign_in(staff.user)
    second = Client()
    second.post("/admin/login/", {"username": staff.user.email, "password": PASSWORD})
    new = "a completely different password"

    answer = staff.post(
        "/admin/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    )

    assert (answer.status_code, staff.get("/admin/").status_code) == (302, 200)
    assert (elsewhere.get("auth/me").status_code, second.get("/admin/").status_code) == (401, 302)


def test_signing_out_everywhere_ends_the_admin_too(staff):
    assert sign_in(staff.user).post("auth/logout-all").status_code == 204

    assert staff.get("/admin/").status_code == 302


def test_who_may_only_look_at_the_admin_presses_no_button(password_hash):
    Role.objects.create(name="looker", permissions=["admin.access"])
    looker = UserFactory(email="looker@example.com", role="looker", password=password_hash)
    client = Client()
    assert client.post("/admin/login/", {"username": looker.email, "password": PASSWORD}).status_code == 302
    victim = sign_in(UserFactory())

    for model, button, row in (
        ("user", "disable", victim.user),
        ("user", "hide", victim.user),
        ("user", "sign_out", victim.user),
        ("session", "revoke", victim.session),
    ):
        client.post(f"/admin/accounts/{model}/", {"action": button, "_selected_action": [str(row.pk)]})

    assert victim.get("auth/me").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/admin/accounts/user/?password__startswith=argon2",
        "/admin/sites/site/?status__exact=%00",
        "/admin/sites/site/?created_at__year=99999999999",
    ],
)
def test_filters_of_the_admin_neither_break_nor_tell_secrets(staff, address):
    assert staff.get(address).status_code in {302, 400}


def test_an_action_on_a_row_that_is_none_is_refused(staff):
    answer = staff.post("/admin/accounts/user/", {"action": "disable", "_selected_action": ["not-a-uuid"]})

    assert answer.status_code == 400


def test_invented_methods_make_no_metrics():
    from core.observability import metrics

    for number in range(5):
        Client().generic(f"METHOD{number}", "/health/live")

    assert b"METHOD" not in metrics.exposition()
