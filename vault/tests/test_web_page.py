"""The policy of the page names exactly the files that the server serves, in development and in production."""

import base64
import hashlib
import json
import re

import pytest
from django.core.management import call_command
from django.test import Client

from vault import web_page

MANIFEST_STORAGE = "whitenoise.storage.CompressedManifestStaticFilesStorage"


def sha256_base64(content):
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@pytest.fixture
def empty_cache():
    web_page.page_context_and_policy.cache_clear()
    yield
    web_page.page_context_and_policy.cache_clear()


@pytest.mark.parametrize("production", [False, True])
def test_page_context_and_policy_contains_the_hash_of_every_served_script(
    empty_cache, settings, tmp_path, production
):
    if production:
        settings.DEVELOPMENT = False
        settings.STATIC_ROOT = tmp_path
        settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": MANIFEST_STORAGE}}
        call_command(
            "collectstatic",
            interactive=False,
            verbosity=0,
            ignore_patterns=["admin", "drf_spectacular*", "rest_framework"],
        )

    response = Client().get("/vault/", secure=True, headers={"Host": "localhost"})

    html = response.content.decode()
    policy = response["Content-Security-Policy"]
    scripts = re.findall(r'<script type="module" src="/static/([^"]+)" integrity="([^"]+)">', html)
    assert [re.sub(r"\.[0-9a-f]{12}", "", name) for name, _ in scripts] == list(web_page.SCRIPT_MODULES)
    assert all(("." in name.removesuffix(".js")) == production for name, _ in scripts)
    for name, integrity in scripts:
        content = (tmp_path / name).read_bytes() if production else web_page._read_static_file(name)
        assert integrity == f"sha256-{sha256_base64(content)}"
        assert f"'{integrity}'" in policy
    import_map = re.search(r'<script type="importmap">(.*?)</script>', html)[1]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert json.loads(import_map)["imports"] == {
        f"/static/{name}": f"/static/{served_name}"
        for name, (served_name, _) in zip(web_page.SCRIPT_MODULES, scripts, strict=True)
    }
    for inline in (import_map, style):
        assert sha256_base64(inline.encode()) in policy
