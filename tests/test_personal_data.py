"""One's data: the archive of it, changing one's mind, and being forgotten, over every app."""

# ruff: noqa: F811 - fixtures are imported by name

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.models import DataExport, User
from accounts.services import data_exports, email_links, users
from accounts.services.data_exports import token_of
from accounts.tests.conftest import mailbox  # noqa: F401 - a fixture
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail, token_in_mail
from audit.actors import SYSTEM
from audit.tests.conftest import superuser, trail  # noqa: F401 - fixtures
from conftest import PASSWORD, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.models import Mail
from core.storage import object_store
from sites.models import Site
from sites.tests.team import new_team

pytestmark = pytest.mark.django_db
NAME = "Zebulon Quartermain"
OLD = "zebulon.before@example.com"
NEW = "zebulon.after@example.com"


@pytest.fixture(autouse=True)
def store(settings, tmp_path, mailbox):
    """An object store of this test alone."""
    settings.OBJECT_STORE_URL = f"file://{tmp_path}/objects"
    object_store.object_store.cache_clear()
    yield object_store.object_store()
    object_store.object_store.cache_clear()


def everything():
    """Every row of every table as text, whoever may see it."""
    rows = []
    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t")
            rows += [f"{table}: {row[0]}" for row in cursor.fetchall()]
    return rows


def where(needle):
    return [row[:200] for row in everything() if needle.lower() in row.lower()]


@pytest.fixture
def zebulon(password_hash, issuer):
    """Somebody who has left traces in every app: on sites of their own and of others, under two addresses."""
    user = users.register_user(email=OLD, password=PASSWORD, name=NAME)
    issuer.say(claims={"email": OLD})
    api = sign_in(user)
    begun = api.post("auth/providers/mock/options").json()
    api.post("auth/providers/mock", issuer.visit(begun["authorization_url"]))
    post_auth(Client(), "login", {"email": OLD, "password": "wrong password"})
    post_auth(Client(), "password/forgot", {"email": OLD})
    api.post("auth/email/change", {"email": NEW})
    post_auth(Client(), "email/verify", {"token": token_in_mail(deliver_and_read_mails(NEW)[-1])})
    api.patch("auth/me", {"name": NAME}, if_match="*")
    api.post("api-keys", {"label": f"Key of {NAME}", "scopes": ["sites.read"]}, Idempotency_Key="k1")
    site = api.post(
        "sites", {"name": f"Site of {NAME}", "subdomain": "zebulons", "template": "bakery"}
    ).json()["id"]
    api.post(f"sites/{site}/publish")
    api.post(f"sites/{site}/posts", {"title": f"By {NAME}", "published_at": "2020-01-01T00:00:00Z"})
    team = new_team()
    for address in (OLD, NEW):
        team.owner.post(team.path("invitations"), {"email": address, "role": "editor"})
    (invited,) = [text for text in deliver_and_read_mails(NEW) if "/invitation#" in text]
    api.post("invitations/accept", {"token": token_in_mail(invited)})
    api.post(team.path("posts"), {"title": "Elsewhere", "published_at": "2020-01-01T00:00:00Z"})
    api.post(f"sites/{site}/invitations", {"email": "friend@example.com", "role": "viewer"})
    api.post("auth/me/export")
    data_exports.make_exports(now=timezone.now())
    admin = sign_in(UserFactory(email="admin@example.com", role="admin", password=password_hash))
    admin.patch(f"users/{user.pk}", {"age": 40}, if_match="*")
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": "admin@example.com", "password": PASSWORD})
    assert browser.get(f"/admin/accounts/user/{user.pk}/change/").status_code == 200
    fields = {
        "name": NAME,
        "age": "41",
        "is_active": "on",
        "roles": [str(role.pk) for role in user.roles.all()],
    }
    inlines = {
        f"{name}-{part}": "0"
        for name in ("sessions", "api_keys", "identities")
        for part in ("TOTAL_FORMS", "INITIAL_FORMS")
    }
    assert browser.post(f"/admin/accounts/user/{user.pk}/change/", {**fields, **inlines}).status_code == 302
    user.refresh_from_db()
    return sign_in(user)


# --- the archive
# -----------------------------------------------------------------------------------------------------


def fetch(api):
    """The newest archive's files, by name."""
    link = api.get("auth/me/export").json()["link"]
    answer = Client().get(link.partition("8000")[2])
    body = b"".join(answer.streaming_content)
    assert (answer.status_code, answer["Content-Type"], len(body)) == (
        200,
        "application/zip",
        int(answer["Content-Length"]),
    )
    assert answer["Content-Disposition"].startswith('attachment; filename="my-data-')
    archive = zipfile.ZipFile(io.BytesIO(body))
    assert archive.testzip() is None
    return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_archive_has_everything_of_ones_own_and_nothing_secret(zebulon):
    files = fetch(zebulon)

    account = json.loads(files["account.json"])
    assert (account["name"], account["email"], account["roles"]) == (NAME, NEW, ["user"])
    assert sorted(files) == sorted(
        [
            "README.txt",
            "account.json",
            "api_keys.json",
            "audit.jsonl",
            "exports.json",
            "invitations.json",
            "mailed_links.json",
            "mails.json",
            "memberships.json",
            "passkeys.json",
            "posts_elsewhere.jsonl",
            "providers.json",
            "reviews.json",
            "second_factors.json",
            "sessions.json",
            "vaults.json",
            "vault_items.jsonl",
            *(
                f"sites/zebulons/{part}"
                for part in (
                    "draft.json",
                    "members.json",
                    "posts.jsonl",
                    "previews.json",
                    "releases.jsonl",
                    "revisions.jsonl",
                    "schedules.json",
                    "site.json",
                )
            ),
        ]
    )
    assert json.loads(files["providers.json"])[0]["provider"] == "mock"
    assert "Elsewhere" in files["posts_elsewhere.jsonl"]
    assert json.loads(files["sites/zebulons/draft.json"])["pages"]
    assert len(files["sites/zebulons/releases.jsonl"].splitlines()) == 1
    trail_lines = [json.loads(line) for line in files["audit.jsonl"].splitlines()]
    assert {"user.registered", "user.email_changed", "site.published"} <= {
        line["event"] for line in trail_lines
    }
    together = "\n".join(files.values())
    assert not [
        secret for secret in ("argon2", PASSWORD, "digest", "public_key", "The owner") if secret in together
    ]


def test_the_archive_of_a_newcomer_is_small_and_of_a_blind_account_no_secret(api):
    api.post("auth/me/export")
    data_exports.make_exports(now=timezone.now())

    assert json.loads(fetch(api)["sessions.json"])[0]["network"] == ""


def test_the_store_holds_noise_and_only_until_the_link_ends(zebulon, store):
    (part,) = store.keys("exports/")
    sealed = store.read(part)
    export = DataExport.objects.get()
    token = token_of(export)

    assert not [word for word in (NAME, NEW, "PK\x03\x04", "account.json") if word.encode() in sealed]
    assert where(export.key) == []  # encrypted at rest
    assert Client().get(f"/api/v1/exports/{token}").status_code == 200
    for bad in (token[:-1], token[:-1] + ("0" if token[-1] != "0" else "1"), "x", "é" * 40):
        assert Client().get(f"/api/v1/exports/{bad}").status_code == 400
    DataExport.objects.update(expires_at=timezone.now())
    assert Client().get(f"/api/v1/exports/{token}").json()["code"] == "link_refused"
    assert zebulon.get("auth/me/export").json()["link"] is None
    assert data_exports.delete_expired_exports(now=timezone.now()) == 1
    assert store.keys("exports/") == []


def test_a_link_ends_with_its_account(zebulon):
    token = token_of(DataExport.objects.get())
    users.set_active(zebulon.user.pk, False, actor=SYSTEM, now=timezone.now())

    assert Client().get(f"/api/v1/exports/{token}").status_code == 400


@pytest.mark.commits
def test_one_archive_at_a_time_and_five_a_day(api):
    def ask(_):
        try:
            return api.post("auth/me/export").json()["id"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    for _ in range(4):
        data_exports.make_exports(now=timezone.now())
        assert api.post("auth/me/export").status_code == 202
    data_exports.make_exports(now=timezone.now())

    refused = api.post("auth/me/export")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many")
    assert "Your data are ready" in [subject_of_mail(text) for text in deliver_and_read_mails(api.user.email)]


def test_an_archive_that_was_interrupted_is_made_again_whole(api, store, settings, tmp_path):
    api.post("auth/me/export")
    (tmp_path / "a-file").write_text("in the way")
    settings.OBJECT_STORE_URL = f"file://{tmp_path}/a-file"
    object_store.object_store.cache_clear()
    assert data_exports.make_exports(now=timezone.now()) == 0
    assert api.get("auth/me/export").json()["link"] is None
    settings.OBJECT_STORE_URL = f"file://{tmp_path}/objects"
    object_store.object_store.cache_clear()

    assert data_exports.make_exports(now=timezone.now() + timedelta(minutes=1)) == 1

    assert "account.json" in fetch(api)


@pytest.mark.commits
def test_two_workers_make_one_archive(api):
    api.post("auth/me/export")

    def work(_):
        try:
            return data_exports.make_exports(now=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 1
    assert Mail.objects.filter(template="export_ready").count() == 1


def test_a_large_archive_comes_back_in_parts_from_s3(api, settings, s3, monkeypatch):
    from accounts.services import data_exports

    monkeypatch.setattr(data_exports, "PART_BYTES", 1000)
    settings.OBJECT_STORE_URL = s3
    object_store.object_store.cache_clear()
    for number in range(3):
        api.post("sites", {"name": "S", "subdomain": f"large-{number}", "template": "bakery"})
    api.post("auth/me/export")
    data_exports.make_exports(now=timezone.now())

    assert DataExport.objects.get().parts > 10
    assert "sites/large-2/draft.json" in fetch(api)
    DataExport.objects.update(expires_at=timezone.now())
    data_exports.delete_expired_exports(now=timezone.now())
    assert object_store.object_store().keys("exports/") == []


def test_a_part_that_is_gone_is_said_before_the_answer_begins(api, store):
    api.post("auth/me/export")
    data_exports.make_exports(now=timezone.now())
    store.delete(store.keys("exports/")[0])

    assert Client().get(f"/api/v1/exports/{token_of(DataExport.objects.get())}").status_code == 503


# --- changing one's mind
# ---------------------------------------------------------------------------------------------


def close(api):
    assert api.delete("auth/me", if_match="*").status_code == 204
    return token_in_mail(deliver_and_read_mails(api.user.email)[-1])


def test_who_closes_an_account_may_open_it_again_for_30_days(api):
    site = api.post("sites", {"name": "S", "subdomain": "comes-back", "template": "bakery"}).json()["id"]
    token = close(api)
    with tenancy.context(tenancy.SYSTEM):
        assert not Site.objects.alive().filter(pk=site).exists()
    late = timezone.now() + timedelta(days=30, seconds=1)
    with pytest.raises(email_links.LinkRefused):
        email_links.restore_account(token, now=late)

    opened = post_auth(Client(), "restore", {"token": token})

    assert (opened.status_code, post_auth(Client(), "restore", {"token": token}).status_code) == (204, 400)
    assert sign_in(User.objects.alive().get(pk=api.user.pk)).get(f"sites/{site}").status_code == 200


def test_what_staff_close_stays_closed(api):
    token = close(api)
    users.restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())
    users.delete_user(api.user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)

    assert post_auth(Client(), "restore", {"token": token}).status_code == 400


def test_a_link_of_another_kind_opens_nothing(api):
    post_auth(Client(), "password/forgot", {"email": api.user.email})
    token = token_in_mail(deliver_and_read_mails(api.user.email)[-1])
    close(api)

    assert post_auth(Client(), "restore", {"token": token}).status_code == 400


def test_an_archive_tells_nothing_of_others(password_hash):
    team = new_team()
    team.editor.client.defaults["REMOTE_ADDR"] = "203.0.113.77"
    assert team.save("hello", who="editor").status_code == 200
    team.owner.post(team.path("invitations"), {"email": "third@example.com", "role": "viewer"})
    staff = sign_in(UserFactory(email="staff@example.com", role="admin"))
    staff.patch(f"users/{team.owner.user.pk}", {"name": "Secretname"}, if_match="*")
    archives = []
    for api in (team.owner, staff):
        api.post("auth/me/export")
        data_exports.make_exports(now=timezone.now())
        archives.append("\n".join(fetch(api).values()))

    assert [
        word for word in ("203.0.113", "staff@example.com", "third@example.com") if word in archives[0]
    ] == []
    assert [word for word in ("Secretname", team.owner.user.email) if word in archives[1]] == []


def test_an_archive_of_somebody_erased_meanwhile_leaves_no_part(api, store, monkeypatch):
    from accounts.services import data_exports

    api.post("auth/me/export")
    real = data_exports._encrypt_part

    def seal(*given):
        monkeypatch.setattr(data_exports, "_encrypt_part", real)
        call_command("erase_user", api.user.email)
        return real(*given)

    monkeypatch.setattr(data_exports, "_encrypt_part", seal)
    data_exports.make_exports(now=timezone.now())

    assert store.keys("exports/") == []


def test_a_worker_that_is_killed_each_time_gives_up(api):
    api.post("auth/me/export")
    DataExport.objects.update(state="running", attempts=5, due_at=timezone.now() - timedelta(minutes=1))

    assert data_exports.make_exports(now=timezone.now()) == 0
    assert (DataExport.objects.get().state, DataExport.objects.get().error) == ("dead", "killed")
    assert api.post("auth/me/export").json()["state"] == "waiting"


def test_staff_keep_a_closed_account_closed_by_disabling_it(api):
    token = close(api)
    users.set_active(api.user.pk, False, actor=SYSTEM, now=timezone.now())

    assert post_auth(Client(), "restore", {"token": token}).status_code == 400


def test_every_closing_has_a_way_back(api):
    for _ in range(7):
        again = sign_in(User.objects.alive().get(pk=api.user.pk))
        assert again.delete("auth/me", if_match="*").status_code == 204
        users.restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())

    assert Mail.objects.filter(template="account_closed").count() == 7
