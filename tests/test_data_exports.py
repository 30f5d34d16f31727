"""Exports of personal data: what they hold, who may download them, and how workers produce them."""

# ruff: noqa: F811 - fixtures are imported by name

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import DataExport, Session
from accounts.services import data_exports, export_parts, users
from accounts.services.data_exports import token_of
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, subject_of_mail
from audit.actors import SYSTEM
from audit.models import Entry
from conftest import PASSWORD, sign_in
from core.models import Mail
from core.storage import object_store
from sites.tests.team import new_team
from tests.personal_data import (
    EMAIL,
    NAME,
    download_export,
    export_store,  # noqa: F401 - a fixture
    json_lines,
    make_export,
    rows_containing,
    zebulon,  # noqa: F401 - a fixture
)

pytestmark = pytest.mark.django_db
ACCOUNT_FILES = [
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
]
SITE_FILES = [
    "draft.json",
    "members.json",
    "posts.jsonl",
    "previews.json",
    "releases.jsonl",
    "revisions.jsonl",
    "schedules.json",
    "site.json",
]


def test_data_export_holds_all_own_data_and_no_secret(zebulon):
    files = download_export(zebulon)

    account = json.loads(files["account.json"])
    assert (account["name"], account["email"], account["roles"]) == (NAME, EMAIL, ["user"])
    assert sorted(files) == sorted([*ACCOUNT_FILES, *(f"sites/zebulons/{name}" for name in SITE_FILES)])
    assert json.loads(files["providers.json"])[0]["provider"] == "mock"
    assert "Elsewhere" in files["posts_elsewhere.jsonl"]
    assert json.loads(files["sites/zebulons/draft.json"])["pages"]
    assert len(json_lines(files["sites/zebulons/releases.jsonl"])) == 1
    events = {line["event"] for line in json_lines(files["audit.jsonl"])}
    assert {"user.registered", "user.email_changed", "site.published"} <= events
    content = "\n".join(files.values())
    secrets = ("argon2", PASSWORD, "digest", "public_key", "The owner")
    assert [secret for secret in secrets if secret in content] == []


def test_data_export_of_a_new_account_has_its_session_without_network(api):
    make_export(api)

    assert json.loads(download_export(api)["sessions.json"])[0]["network"] == ""


def test_data_export_holds_no_personal_data_of_others(password_hash):
    team = new_team()
    team.editor.client.defaults["REMOTE_ADDR"] = "203.0.113.77"
    assert team.save_draft("hello", role="editor").status_code == 200
    team.owner.post(team.path("invitations"), {"email": "third@example.com", "role": "viewer"})
    staff = sign_in(UserFactory(email="staff@example.com", role="admin"))
    staff.patch(f"users/{team.owner.user.pk}", {"name": "Secretname"}, if_match="*")
    contents = []
    for api in (team.owner, staff):
        make_export(api)
        contents.append("\n".join(download_export(api).values()))

    owner_content, staff_content = contents
    hidden_from_owner = ("203.0.113", "staff@example.com", "third@example.com")
    hidden_from_staff = ("Secretname", team.owner.user.email)
    assert [text for text in hidden_from_owner if text in owner_content] == []
    assert [text for text in hidden_from_staff if text in staff_content] == []


def test_data_export_is_encrypted_in_the_store_and_its_key_in_the_database(zebulon, export_store):
    (part,) = export_store.keys("exports/")
    ciphertext = export_store.read(part)
    export = DataExport.objects.get()

    texts = (NAME, EMAIL, "PK\x03\x04", "account.json")
    assert [text for text in texts if text.encode() in ciphertext] == []
    assert rows_containing(export.key) == []


def test_data_export_link_refuses_a_changed_token_and_ends_with_its_expiry(zebulon, export_store):
    token = token_of(DataExport.objects.get())

    assert zebulon.get(f"exports/{token}").status_code == 200
    flipped = token[:-1] + ("0" if token[-1] != "0" else "1")
    for wrong_token in (token[:-1], flipped, "x", "é" * 40):
        assert zebulon.get(f"exports/{wrong_token}").status_code == 404
    DataExport.objects.update(expires_at=timezone.now())
    assert zebulon.get(f"exports/{token}").json()["code"] == "not_found"
    assert zebulon.get("auth/me/export").json()["link"] is None
    assert data_exports.delete_expired_exports(now=timezone.now()) == 1
    assert export_store.keys("exports/") == []


def test_data_export_link_ends_with_its_account(zebulon):
    token = token_of(DataExport.objects.get())
    users.set_active(zebulon.user.pk, False, actor=SYSTEM, now=timezone.now())

    assert zebulon.get(f"exports/{token}").status_code == 401


def test_data_export_link_is_refused_without_a_sign_in(zebulon):
    response = Client().get(f"/api/v1/exports/{token_of(DataExport.objects.get())}")

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_data_export_link_of_another_user_is_answered_like_an_unknown_one(zebulon, other):
    of_another_user = other.get(f"exports/{token_of(DataExport.objects.get())}")
    unknown = other.get("exports/unknown")

    problems = [{**response.json(), "instance": None} for response in (of_another_user, unknown)]
    assert (of_another_user.status_code, problems[0]) == (404, problems[1])
    assert Entry.objects.filter(event="export.downloaded").count() == 0


def test_data_export_download_needs_a_recent_proof(zebulon):
    Session.objects.filter(user=zebulon.user).update(proved_at=timezone.now() - timedelta(hours=1))

    response = zebulon.get(f"exports/{token_of(DataExport.objects.get())}")

    assert (response.status_code, response.json()["code"]) == (403, "reauthentication_required")


def test_data_export_mail_links_to_the_page_where_its_owner_downloads_it(api, export_store):
    make_export(api)

    mail = deliver_and_read_mails(api.user.email)[-1]

    path = f"/account/data-export#{token_of(DataExport.objects.get())}"
    assert path in mail
    assert Client().get(path.partition("#")[0]).status_code == 200


@pytest.mark.commits
def test_data_export_requests_share_one_export_and_are_limited_to_five_a_day(api):
    def request_export(_):
        try:
            return api.post("auth/me/export").json()["id"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(request_export, range(8)))) == 1
    for _ in range(4):
        data_exports.make_exports(now=timezone.now())
        assert api.post("auth/me/export").status_code == 202
    data_exports.make_exports(now=timezone.now())

    refused = api.post("auth/me/export")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many")
    assert "Your data is ready" in [subject_of_mail(text) for text in deliver_and_read_mails(api.user.email)]


def test_make_exports_starts_again_after_the_store_failed(api, export_store, settings, tmp_path):
    api.post("auth/me/export")
    (tmp_path / "a-file").write_text("in the way")
    settings.OBJECT_STORE_URL = f"file://{tmp_path}/a-file"
    object_store.object_store.cache_clear()
    assert data_exports.make_exports(now=timezone.now()) == 0
    assert api.get("auth/me/export").json()["link"] is None
    settings.OBJECT_STORE_URL = f"file://{tmp_path}/objects"
    object_store.object_store.cache_clear()

    assert data_exports.make_exports(now=timezone.now() + timedelta(minutes=1)) == 1

    assert "account.json" in download_export(api)


@pytest.mark.commits
def test_make_exports_in_parallel_makes_one_archive(api):
    api.post("auth/me/export")

    def make_exports(_):
        try:
            return data_exports.make_exports(now=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(make_exports, range(4))) == 1
    assert Mail.objects.filter(template="export_ready").count() == 1


def test_make_exports_splits_a_large_archive_into_parts_on_s3(api, settings, s3, monkeypatch):
    monkeypatch.setattr(export_parts, "PART_BYTES", 1000)
    settings.OBJECT_STORE_URL = s3
    object_store.object_store.cache_clear()
    for number in range(3):
        api.post("sites", {"name": "S", "subdomain": f"large-{number}", "template": "bakery"})
    make_export(api)

    assert DataExport.objects.get().parts > 10
    assert "sites/large-2/draft.json" in download_export(api)
    DataExport.objects.update(expires_at=timezone.now())
    data_exports.delete_expired_exports(now=timezone.now())
    assert object_store.object_store().keys("exports/") == []


def test_make_exports_leaves_no_part_of_a_user_who_was_erased_meanwhile(api, export_store, monkeypatch):
    api.post("auth/me/export")
    original_encrypt = export_parts._encrypt_part

    def erase_user_and_encrypt(*arguments):
        monkeypatch.setattr(export_parts, "_encrypt_part", original_encrypt)
        call_command("erase_user", api.user.email)
        return original_encrypt(*arguments)

    monkeypatch.setattr(export_parts, "_encrypt_part", erase_user_and_encrypt)
    data_exports.make_exports(now=timezone.now())

    assert export_store.keys("exports/") == []


def test_make_exports_gives_up_on_an_export_that_was_killed_five_times(api):
    api.post("auth/me/export")
    DataExport.objects.update(status="running", attempts=5, due_at=timezone.now() - timedelta(minutes=1))

    assert data_exports.make_exports(now=timezone.now()) == 0
    assert (DataExport.objects.get().status, DataExport.objects.get().error) == ("dead", "killed")
    assert api.post("auth/me/export").json()["state"] == "waiting"


def test_data_export_download_answers_503_when_a_part_is_missing(api, export_store):
    make_export(api)
    export_store.delete(export_store.keys("exports/")[0])

    response = api.get(f"exports/{token_of(DataExport.objects.get())}")

    assert response.status_code == 503
