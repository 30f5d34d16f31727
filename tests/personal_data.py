"""Fixtures for the tests of data exports and erasure: a user with data in every app, and a search for it.

A test file imports the fixtures by name.
"""

import io
import json
import zipfile
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import data_exports, users
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, token_in_mail
from audit.actors import SYSTEM
from conftest import PASSWORD, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.storage import object_store
from sites.models import Site
from sites.tests.team import new_team
from tests.admin_client import user_form

NAME = "Zebulon Quartermain"
FORMER_EMAIL = "zebulon.before@example.com"
EMAIL = "zebulon.after@example.com"
DELETED_ROWS_KEPT = timedelta(days=30)
TABLES = """
SELECT c.oid::regclass::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = 'public'
"""


@pytest.fixture(autouse=True)
def export_store(settings, tmp_path):
    """An object store for this test alone."""
    settings.OBJECT_STORE_URL = f"file://{tmp_path}/objects"
    object_store.object_store.cache_clear()
    yield object_store.object_store()
    object_store.object_store.cache_clear()


def all_rows():
    """Every row of every table as text, with the name of its table, from a context that may see all rows."""
    rows = []
    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        cursor.execute(TABLES)
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t")
            rows += [f"{table}: {row[0]}" for row in cursor.fetchall()]
    return rows


def rows_containing(text):
    """The first 200 characters of every row that contains `text` in any case."""
    return [row[:200] for row in all_rows() if text.lower() in row.lower()]


@pytest.fixture
def zebulon(password_hash, issuer):
    """A client signed in as a user with data in every app, on own and other sites, under two addresses."""
    user = users.register_user(email=FORMER_EMAIL, password=PASSWORD, name=NAME)
    api = sign_in(user)
    connect_identity(api, issuer)
    change_address(api)
    api.patch("auth/me", {"name": NAME}, if_match="*")
    api.post("api-keys", {"label": f"Key of {NAME}", "scopes": ["sites.read"]}, Idempotency_Key="k1")
    site_id = publish_site_with_post(api)
    join_other_site(api)
    api.post(f"sites/{site_id}/invitations", {"email": "friend@example.com", "role": "viewer"})
    make_export(api)
    change_by_staff(user, password_hash)
    user.refresh_from_db()
    return sign_in(user)


def connect_identity(api, issuer):
    issuer.configure(claims={"email": FORMER_EMAIL})
    options = api.post("auth/providers/mock/options").json()
    api.post("auth/providers/mock", issuer.authorize(options["authorization_url"]))


def change_address(api):
    """Fail to sign in, ask for a new password, and move to another address."""
    post_auth(Client(), "login", {"email": FORMER_EMAIL, "password": "wrong password"})
    post_auth(Client(), "password/forgot", {"email": FORMER_EMAIL})
    api.post("auth/email/change", {"email": EMAIL})
    post_auth(Client(), "email/verify", {"token": token_in_mail(deliver_and_read_mails(EMAIL)[-1])})


def publish_site_with_post(api):
    site = {"name": f"Site of {NAME}", "subdomain": "zebulons", "template": "bakery"}
    site_id = api.post("sites", site).json()["id"]
    api.post(f"sites/{site_id}/publish")
    api.post(f"sites/{site_id}/posts", {"title": f"By {NAME}", "published_at": "2020-01-01T00:00:00Z"})
    return site_id


def join_other_site(api):
    """Be invited under both addresses, accept, and write a post titled "Elsewhere"."""
    team = new_team()
    for address in (FORMER_EMAIL, EMAIL):
        team.owner.post(team.path("invitations"), {"email": address, "role": "editor"})
    (invitation,) = [text for text in deliver_and_read_mails(EMAIL) if "/invitation#" in text]
    api.post("invitations/accept", {"token": token_in_mail(invitation)})
    api.post(team.path("posts"), {"title": "Elsewhere", "published_at": "2020-01-01T00:00:00Z"})


def change_by_staff(user, password_hash):
    """An administrator changes and views the account through the API and the admin."""
    admin = sign_in(UserFactory(email="admin@example.com", role="admin", password=password_hash))
    admin.patch(f"users/{user.pk}", {"age": 40}, if_match="*")
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": "admin@example.com", "password": PASSWORD})
    assert browser.get(f"/admin/accounts/user/{user.pk}/change/").status_code == 200
    form = user_form(name=NAME, age="41", roles=[str(role.pk) for role in user.roles.all()])
    assert browser.post(f"/admin/accounts/user/{user.pk}/change/", form).status_code == 302


def make_export(api):
    """Request an export of the account's data and produce it."""
    api.post("auth/me/export")
    data_exports.make_exports(now=timezone.now())


def download_export(api):
    """The text of each file in the newest export, by name."""
    link = api.get("auth/me/export").json()["link"]
    response = api.get(link.partition("8000")[2])
    body = b"".join(response.streaming_content)
    assert (response.status_code, response["Content-Type"]) == (200, "application/zip")
    assert int(response["Content-Length"]) == len(body)
    assert response["Content-Disposition"].startswith('attachment; filename="my-data-')
    archive = zipfile.ZipFile(io.BytesIO(body))
    assert archive.testzip() is None
    return {name: archive.read(name).decode() for name in archive.namelist()}


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def close_account(api):
    """Close the account; return the token of the mailed link that opens it again."""
    assert api.delete("auth/me", if_match="*").status_code == 204
    return token_in_mail(deliver_and_read_mails(api.user.email)[-1])


def delete_and_expire(user):
    """Delete the account and its sites, dated so long ago that the purge may remove them."""
    users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    deleted_at = timezone.now() - DELETED_ROWS_KEPT - timedelta(days=1)
    User.objects.get_queryset().filter(pk=user.pk).update(deleted_at=deleted_at)
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.deleted().update(deleted_at=deleted_at)
