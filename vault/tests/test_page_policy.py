"""The page's policy names exactly what a host serves, also where static files have hashes in their names."""

import base64
import hashlib
import json
import re

import pytest
from django.core.management import call_command
from django.test import Client

from vault import web_page

MANIFEST = "whitenoise.storage.CompressedManifestStaticFilesStorage"


@pytest.fixture
def fresh():
    web_page.page_context_and_policy.cache_clear()
    yield
    web_page.page_context_and_policy.cache_clear()


@pytest.mark.parametrize("production", [False, True])
def test_every_script_has_the_hash_of_what_is_served(fresh, settings, tmp_path, production):
    if production:
        settings.DEVELOPMENT = False
        settings.STATIC_ROOT = tmp_path
        settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": MANIFEST}}
        call_command(
            "collectstatic",
            interactive=False,
            verbosity=0,
            ignore_patterns=["admin", "drf_spectacular*", "rest_framework"],
        )
    answer = Client().get("/vault/", secure=True, headers={"Host": "localhost"})
    text = answer.content.decode()
    policy = answer["Content-Security-Policy"]

    scripts = re.findall(r'<script type="module" src="/static/([^"]+)" integrity="([^"]+)">', text)
    assert [re.sub(r"\.[0-9a-f]{12}", "", name) for name, _ in scripts] == list(web_page.SCRIPT_MODULES)
    assert all(("." in name.removesuffix(".js")) == production for name, _ in scripts)
    for name, integrity in scripts:
        served = (tmp_path / name).read_bytes() if production else web_page._read_static_file(name)
        assert integrity == f"sha256-{base64.b64encode(hashlib.sha256(served).digest()).decode()}"
        assert f"'{integrity}'" in policy
    imports = re.search(r'<script type="importmap">(.*?)</script>', text)[1]
    assert json.loads(imports)["imports"] == {
        f"/static/{name}": f"/static/{found}"
        for name, (found, _) in zip(web_page.SCRIPT_MODULES, scripts, strict=True)
    }
    for content in (imports, re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]):
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy
