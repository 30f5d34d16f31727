"""Upgrades of stored blueprints and posts whose blocks have an older version."""

from typing import Annotated

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.template import engines
from pydantic import Field

from core import tenancy
from core.errors import Invalid
from sites.blueprint import schema
from sites.blueprint.blocks import block, registry
from sites.blueprint.blocks.fields import Props, Title
from sites.models import Draft, Post, Release, Revision
from sites.serving import rendering
from sites.tests.factories import document, page

pytestmark = pytest.mark.django_db
OLD = {"id": "s", "type": "test-sign", "v": 1, "props": {"words": "Open  today"}}
NEW = {"id": "s", "type": "test-sign", "v": 3, "props": {"lines": ["Open", "today"]}}


def clear_model_caches():
    for cached_function in (schema.page_model, schema.blueprint_model, schema.json_schema):
        cached_function.cache_clear()


@pytest.fixture
def third_version(settings, tmp_path):
    """A block type in version 3: `words` became `text`, then a list of `lines`."""
    folder = tmp_path / "blocks"
    folder.mkdir()
    (folder / "test-sign.html").write_text("{% for line in props.lines %}<p>{{ line }}</p>{% endfor %}")
    (folder / "test-frame.html").write_text("{% load site_blocks %}{% blocks slots.content %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [*settings.TEMPLATES[0]["DIRS"], tmp_path]}]
    engines._engines.clear() if hasattr(engines, "_engines") else None

    def rename_words(old_block):
        return {**old_block, "props": {"text": old_block["props"]["words"]}}

    def split_text(old_block):
        return {**old_block, "props": {"lines": old_block["props"]["text"].split()}}

    @block("test-sign", upgrades=[rename_words, split_text])
    class Sign(Props):
        lines: Annotated[list[Title], Field(min_length=1)]

    @block("test-frame", slots=["content"])
    class Frame(Props):
        pass

    clear_model_caches()
    yield Sign
    del registry._types["test-sign"], registry._types["test-frame"]
    clear_model_caches()


def nest_in_frame(inner):
    return {"id": "f", "type": "test-frame", "v": 1, "props": {}, "slots": {"content": [inner]}}


def store_old_blocks(team, *blocks):
    """Store old blocks as an older version would have: in a draft, the live release and a post."""
    old_blueprint = document(page(blocks=list(blocks)))
    with tenancy.context(tenancy.SYSTEM):
        Draft.objects.filter(site=team.site).update(blueprint=document())
    team.editor.post(team.path("publish"))
    post = team.editor.post(
        team.path("posts"), {"title": "Old", "published_at": "2026-01-01T00:00:00Z"}
    ).json()
    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        Draft.objects.filter(site=team.site).update(blueprint=old_blueprint)
        cursor.execute("ALTER TABLE sites_release DISABLE TRIGGER release_is_final")
        Release.objects.filter(site=team.site).update(blueprint=old_blueprint)
        cursor.execute("ALTER TABLE sites_release ENABLE TRIGGER release_is_final")
        Post.objects.filter(pk=post["id"]).update(blocks=list(blocks))
    return post


def stored_blocks():
    with tenancy.context(tenancy.SYSTEM):
        return [
            [
                block
                for stored_document in Draft.objects.values_list("blueprint", flat=True)
                for block in stored_document["pages"][0]["blocks"]
            ],
            [
                block
                for stored_document in Post.objects.values_list("blocks", flat=True)
                for block in stored_document
            ],
        ]


def test_block_types_version_is_the_number_of_upgrades_plus_one(third_version):
    assert registry.block_types()["test-sign"].v == 3
    assert {kind.v for name, kind in registry.block_types().items() if not name.startswith("test-")} == {1}


@pytest.mark.commits
def test_upgrade_happens_whenever_an_old_block_is_read_or_saved(third_version, team, visitor):
    post = store_old_blocks(team, nest_in_frame(OLD))

    assert b"<p>Open</p><p>today</p>" in visitor.request("/", team.host)[2]
    assert b"<p>Open</p><p>today</p>" in visitor.request(f"/blog/{post['slug']}", team.host)[2]
    public = team.viewer.get(f"public/sites/{team.host}/pages").json()
    assert public["blocks"][0]["slots"]["content"][0]["props"] == {"lines": ["Open", "today"]}
    saved = team.author.put(team.path("blueprint"), document(page(blocks=[dict(OLD)])), if_match="*")
    assert saved.json()["pages"][0]["blocks"][0] == NEW


@pytest.mark.commits
def test_upgrade_blueprints_command_upgrades_once_after_a_dry_run(third_version, team, capsys):
    store_old_blocks(team, nest_in_frame(OLD), {**OLD, "id": "t"})
    before = stored_blocks()

    call_command("upgrade_blueprints", "--dry-run")
    assert capsys.readouterr().out == "documents=2 blocks=4 bad=0 dry_run=True\n"
    assert stored_blocks() == before
    call_command("upgrade_blueprints")
    assert capsys.readouterr().out == "documents=2 blocks=4 bad=0 dry_run=False\n"
    for blocks in stored_blocks():
        assert [blocks[0]["slots"]["content"][0]["v"], blocks[1]["v"]] == [3, 3]
    call_command("upgrade_blueprints")
    assert capsys.readouterr().out == "documents=0 blocks=0 bad=0 dry_run=False\n"
    # The draft has a new version, so a client must read it again before it saves.
    assert team.viewer.get(team.path("blueprint"))["ETag"] == '"2"'
    with tenancy.context(tenancy.SYSTEM):
        assert Revision.objects.filter(site=team.site, author=None).count() == 1
    call_command("check_blueprints", "--revisions")
    assert "bad=0" in capsys.readouterr().out


@pytest.mark.parametrize("props", [{}, {"words": 5}, {"words": ""}, [], None, {"words": ["x"]}])
@pytest.mark.commits
def test_upgrade_blueprints_command_skips_and_reports_invalid_documents(third_version, team, capsys, props):
    store_old_blocks(team, {**OLD, "props": props})
    other = team.stranger.post("sites", {"name": "x", "subdomain": "good-one"}).json()["id"]
    with tenancy.context(tenancy.SYSTEM):
        Draft.objects.filter(site=other).update(blueprint=document(page(blocks=[OLD])))
        bad = Draft.objects.get(site=team.site).blueprint

    with pytest.raises(CommandError):
        call_command("check_blueprints")
    output = capsys.readouterr()
    assert f"draft {team.site.pk}" in output.err
    assert "/pages/0/blocks/0" in output.err
    for _ in range(2):
        try:
            call_command("upgrade_blueprints")
        except CommandError:
            assert str(team.site.pk) in capsys.readouterr().err
    with tenancy.context(tenancy.SYSTEM):
        assert Draft.objects.get(site=team.site).blueprint == bad
        assert Draft.objects.get(site=other).blueprint["pages"][0]["blocks"][0]["v"] == 3


@pytest.mark.parametrize("v", [0, -1, 4, "1", 1.5, True, None, [], 10**30])
def test_validate_refuses_unknown_block_versions(third_version, v):
    with pytest.raises(Invalid):
        schema.validate(document(page(blocks=[{**OLD, "v": v}])))


def test_render_page_does_not_change_the_stored_blueprint(third_version):
    old_blueprint = document(page(blocks=[nest_in_frame(dict(OLD))]))
    scene = rendering.RenderContext("http://x.localhost")

    html = [rendering.render_page(old_blueprint, old_blueprint["pages"][0], scene).html for _ in range(2)]

    assert html[0] == html[1]
    assert OLD["props"] == {"words": "Open  today"}


def test_check_blueprints_command_accepts_our_site_templates(team, capsys):
    for template in ("bakery", "consultancy", "portfolio"):
        team.owner.post("sites", {"name": "x", "subdomain": f"from-{template}", "template": template})

    call_command("check_blueprints", "--revisions")

    assert "older=0 bad=0" in capsys.readouterr().out
