"""A browser (Django's test client) that is signed in to the admin."""

import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client

from accounts.tests.factories import UserFactory
from conftest import PASSWORD
from tests.world import World

INLINES_OF_USER = ("sessions", "api_keys", "identities")
MESSAGE = re.compile(r'<li class="(?:success|error|info)">(.*?)</li>', re.DOTALL)


@pytest.fixture
def staff_client(password_hash: str, db: None) -> Client:
    """A client signed in through the form of the admin as an administrator, who is its `user`."""
    user = UserFactory(email="staff@example.com", role="admin", password=password_hash)
    client = Client()
    client.user = user  # type: ignore[attr-defined]
    response = client.post("/admin/login/?next=/admin/", {"username": user.email, "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    return client


def submit_login(client: Client, world: World, **form: str) -> Any:
    """Send the form of the admin login with the address and password of the account of `world`."""
    credentials = {"username": world.api.user.email, "password": PASSWORD}
    return client.post("/admin/login/?next=/admin/", {**credentials, **form})


def post_admin_action(client: Client, model: str, action: str, *rows: Any) -> Any:
    """Send the form of an admin action of `model`, such as `sites/site`, and return the response.

    The action must exist, because the admin ignores unknown ones.
    """
    model_admin = admin.site.get_model_admin(apps.get_model(model.replace("/", ".")))
    assert action in model_admin.actions
    form = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(f"/admin/{model}/", form)


def run_admin_action(client: Client, model: str, action: str, *rows: Any) -> str:
    """Run an action of the change list of `model`, such as `sites/site`; return the messages it shows."""
    response = client.get(post_admin_action(client, model, action, *rows)["Location"])
    assert response.status_code == 200
    return " ".join(MESSAGE.findall(response.content.decode()))


def user_form(**fields: Any) -> dict[str, Any]:
    """The change form of a user with empty inlines, as the browser sends it."""
    management = {f"{inline}-{kind}_FORMS": 0 for inline in INLINES_OF_USER for kind in ("TOTAL", "INITIAL")}
    return {"name": "x", "age": "", "is_active": "on", **fields, **management}
