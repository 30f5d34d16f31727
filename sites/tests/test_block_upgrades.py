"""Upgrades of blocks whose shape changed: on reading, on writing, and by the command `upgrade_blueprints`."""

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
def sign_block_version_3(settings, tmp_path):
    """A block type whose shape changed twice: `words` became `text`, then a list of `lines`."""
    folder = tmp_path / "blocks"
    folder.mkdir()
    (folder / "test-sign.html").write_text("{% for line in props.lines %}<p>{{ line }}</p>{% endfor %}")
    (folder / "test-frame.html").write_text("{% load site_blocks %}{% blocks slots.content %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [*settings.TEMPLATES[0]["DIRS"], tmp_path]}]
    engines._engines.clear() if hasattr(engines, "_engines") else None

    def rename_words_to_text(old):
        return {**old, "props": {"text": old["props"]["words"]}}

    def split_text_to_lines(old):
        return {**old, "props": {"lines": old["props"]["text"].split()}}

    @block("test-sign", upgrades=[rename_words_to_text, split_text_to_lines])
    class Sign(Props):
        lines: Annotated[list[Title], Field(min_length=1)]

    @block("test-frame", slots=["content"])
    class Frame(Props):
        pass

    clear_model_caches()
    yield Sign
    del registry._types["test-sign"], registry._types["test-frame"]
    clear_model_caches()


def in_frame(block):
    return {"id": "f", "type": "test-frame", "v": 1, "props": {}, "slots": {"content": [block]}}


def store_blocks(team, *blocks):
    """Store `blocks` without validation in a draft, in the live release and in a post; returns the post."""
    blueprint = document(page(blocks=list(blocks)))
    with tenancy.context(tenancy.SYSTEM):
        Draft.objects.filter(site=team.site).update(blueprint=document())
    team.editor.post(team.path("publish"))
    post = team.editor.post(
        team.path("posts"), {"title": "Old", "published_at": "2026-01-01T00:00:00Z"}
    ).json()
    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        Draft.objects.filter(site=team.site).update(blueprint=blueprint)
        cursor.execute("ALTER TABLE sites_release DISABLE TRIGGER release_is_final")
        Release.objects.filter(site=team.site).update(blueprint=blueprint)
        cursor.execute("ALTER TABLE sites_release ENABLE TRIGGER release_is_final")
        Post.objects.filter(pk=post["id"]).update(blocks=list(blocks))
    return post


def stored_blocks():
    """Return the blocks of all drafts, and those of all posts."""
    with tenancy.context(tenancy.SYSTEM):
        return [
            [
                block
                for blueprint in Draft.objects.values_list("blueprint", flat=True)
                for block in blueprint["pages"][0]["blocks"]
            ],
            [block for blocks in Post.objects.values_list("blocks", flat=True) for block in blocks],
        ]


def test_block_counts_one_version_for_each_upgrade(sign_block_version_3):
    assert registry.block_types()["test-sign"].v == 3
    assert {
        block_type.v for name, block_type in registry.block_types().items() if not name.startswith("test-")
    } == {1}


@pytest.mark.commits
def test_upgrade_page_is_applied_when_rendering_reading_and_saving(sign_block_version_3, team, visitor):
    post = store_blocks(team, in_frame(OLD))

    assert b"<p>Open</p><p>today</p>" in visitor.request("/", team.host)[2]
    assert b"<p>Open</p><p>today</p>" in visitor.request(f"/blog/{post['slug']}", team.host)[2]
    public = team.viewer.get(f"public/sites/{team.host}/pages").json()
    assert public["blocks"][0]["slots"]["content"][0]["props"] == {"lines": ["Open", "today"]}
    saved = team.author.put(team.path("blueprint"), document(page(blocks=[dict(OLD)])), if_match="*")
    assert saved.json()["pages"][0]["blocks"][0] == NEW


@pytest.mark.commits
def test_upgrade_blueprints_upgrades_once_and_its_dry_run_only_counts(sign_block_version_3, team, capsys):
    store_blocks(team, in_frame(OLD), {**OLD, "id": "t"})
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
    assert (
        team.viewer.get(team.path("blueprint"))["ETag"] == '"2"'
    )  # clients with the old shape must load it again
    with tenancy.context(tenancy.SYSTEM):
        assert Revision.objects.filter(site=team.site, author=None).count() == 1
    call_command("check_blueprints", "--revisions")
    assert "bad=0" in capsys.readouterr().out


@pytest.mark.parametrize("props", [{}, {"words": 5}, {"words": ""}, [], None, {"words": ["x"]}])
@pytest.mark.commits
def test_upgrade_blueprints_reports_an_invalid_document_and_upgrades_the_others(
    sign_block_version_3, team, capsys, props
):
    store_blocks(team, {**OLD, "props": props})
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
def test_validate_blueprint_refuses_an_unknown_block_version(sign_block_version_3, v):
    with pytest.raises(Invalid):
        schema.validate_blueprint(document(page(blocks=[{**OLD, "v": v}])))


def test_render_page_gives_the_same_html_twice_for_an_old_block(sign_block_version_3):
    old = document(page(blocks=[in_frame(dict(OLD))]))
    context = rendering.RenderContext("http://x.localhost")

    html = [rendering.render_page(old, old["pages"][0], context).html for _ in range(2)]

    assert html[0] == html[1]
    assert OLD["props"] == {"words": "Open  today"}


def test_check_blueprints_accepts_the_site_templates(team, capsys):
    for template in ("bakery", "consultancy", "portfolio"):
        team.owner.post("sites", {"name": "x", "subdomain": f"from-{template}", "template": template})

    call_command("check_blueprints", "--revisions")

    assert "older=0 bad=0" in capsys.readouterr().out
