"""Block shapes that changed: what was stored before opens today, is brought up to date once, and is never
dropped.
"""

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


def forget():
    for made in (schema.page_model, schema.blueprint_model, schema.json_schema):
        made.cache_clear()


@pytest.fixture
def third_version(settings, tmp_path):
    """A block type whose shape changed twice: `words` became `text`, then a list of `lines`."""
    folder = tmp_path / "blocks"
    folder.mkdir()
    (folder / "test-sign.html").write_text("{% for line in props.lines %}<p>{{ line }}</p>{% endfor %}")
    (folder / "test-frame.html").write_text("{% load site_blocks %}{% blocks slots.content %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [*settings.TEMPLATES[0]["DIRS"], tmp_path]}]
    engines._engines.clear() if hasattr(engines, "_engines") else None

    def renamed(old):
        return {**old, "props": {"text": old["props"]["words"]}}

    def split(old):
        return {**old, "props": {"lines": old["props"]["text"].split()}}

    @block("test-sign", upgrades=[renamed, split])
    class Sign(Props):
        lines: Annotated[list[Title], Field(min_length=1)]

    @block("test-frame", slots=["content"])
    class Frame(Props):
        pass

    forget()
    yield Sign
    del registry._types["test-sign"], registry._types["test-frame"]
    forget()


def nested(inner):
    return {"id": "f", "type": "test-frame", "v": 1, "props": {}, "slots": {"content": [inner]}}


def stored(team, *blocks):
    """What an older version of us left in the database: a draft, a release that visitors see, and a post."""
    old = document(page(blocks=list(blocks)))
    with tenancy.context(tenancy.SYSTEM):
        Draft.objects.filter(site=team.site).update(blueprint=document())
    team.editor.post(team.path("publish"))
    post = team.editor.post(
        team.path("posts"), {"title": "Old", "published_at": "2026-01-01T00:00:00Z"}
    ).json()
    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        Draft.objects.filter(site=team.site).update(blueprint=old)
        cursor.execute("ALTER TABLE sites_release DISABLE TRIGGER release_is_final")
        Release.objects.filter(site=team.site).update(blueprint=old)
        cursor.execute("ALTER TABLE sites_release ENABLE TRIGGER release_is_final")
        Post.objects.filter(pk=post["id"]).update(blocks=list(blocks))
    return post


def now_stored():
    with tenancy.context(tenancy.SYSTEM):
        return [
            [
                block
                for found in Draft.objects.values_list("blueprint", flat=True)
                for block in found["pages"][0]["blocks"]
            ],
            [block for found in Post.objects.values_list("blocks", flat=True) for block in found],
        ]


def test_a_type_has_as_many_versions_as_ways_to_get_there(third_version):
    assert registry.block_types()["test-sign"].v == 3
    assert {kind.v for name, kind in registry.block_types().items() if not name.startswith("test-")} == {1}


@pytest.mark.commits
def test_an_old_page_is_accepted_rendered_and_answered_in_the_new_shape(third_version, team, visitor):
    post = stored(team, nested(OLD))

    assert b"<p>Open</p><p>today</p>" in visitor.ask("/", team.host)[2]
    assert b"<p>Open</p><p>today</p>" in visitor.ask(f"/blog/{post['slug']}", team.host)[2]
    public = team.viewer.get(f"public/sites/{team.host}/pages").json()
    assert public["blocks"][0]["slots"]["content"][0]["props"] == {"lines": ["Open", "today"]}
    saved = team.author.put(team.path("blueprint"), document(page(blocks=[dict(OLD)])), if_match="*")
    assert saved.json()["pages"][0]["blocks"][0] == NEW


@pytest.mark.commits
def test_the_command_counts_then_upgrades_and_a_second_run_changes_nothing(third_version, team, capsys):
    stored(team, nested(OLD), {**OLD, "id": "t"})
    before = now_stored()

    call_command("upgrade_blueprints", "--dry-run")
    assert capsys.readouterr().out == "documents=2 blocks=4 bad=0 dry_run=True\n"
    assert now_stored() == before
    call_command("upgrade_blueprints")
    assert capsys.readouterr().out == "documents=2 blocks=4 bad=0 dry_run=False\n"
    for blocks in now_stored():
        assert [blocks[0]["slots"]["content"][0]["v"], blocks[1]["v"]] == [3, 3]
    call_command("upgrade_blueprints")
    assert capsys.readouterr().out == "documents=0 blocks=0 bad=0 dry_run=False\n"
    assert team.viewer.get(team.path("blueprint"))["ETag"] == '"2"'  # who had the old shape must read again
    with tenancy.context(tenancy.SYSTEM):
        assert Revision.objects.filter(site=team.site, author=None).count() == 1
    call_command("check_blueprints", "--revisions")
    assert "bad=0" in capsys.readouterr().out


@pytest.mark.parametrize("props", [{}, {"words": 5}, {"words": ""}, [], None, {"words": ["x"]}])
@pytest.mark.commits
def test_a_bad_page_is_named_and_left_and_the_good_ones_go_on(third_version, team, capsys, props):
    stored(team, {**OLD, "props": props})
    other = team.stranger.post("sites", {"name": "x", "subdomain": "good-one"}).json()["id"]
    with tenancy.context(tenancy.SYSTEM):
        Draft.objects.filter(site=other).update(blueprint=document(page(blocks=[OLD])))
        bad = Draft.objects.get(site=team.site).blueprint

    with pytest.raises(CommandError):
        call_command("check_blueprints")
    told = capsys.readouterr()
    assert f"draft {team.site.pk}" in told.err
    assert "/pages/0/blocks/0" in told.err
    for _ in range(2):
        try:
            call_command("upgrade_blueprints")
        except CommandError:
            assert str(team.site.pk) in capsys.readouterr().err
    with tenancy.context(tenancy.SYSTEM):
        assert Draft.objects.get(site=team.site).blueprint == bad
        assert Draft.objects.get(site=other).blueprint["pages"][0]["blocks"][0]["v"] == 3


@pytest.mark.parametrize("v", [0, -1, 4, "1", 1.5, True, None, [], 10**30])
def test_a_version_that_never_was_is_refused(third_version, v):
    with pytest.raises(Invalid):
        schema.validate_blueprint(document(page(blocks=[{**OLD, "v": v}])))


def test_what_is_stored_is_not_changed_by_being_read(third_version):
    old = document(page(blocks=[nested(dict(OLD))]))
    scene = rendering.RenderContext("http://x.localhost")

    html = [rendering.render_page(old, old["pages"][0], scene).html for _ in range(2)]

    assert html[0] == html[1]
    assert OLD["props"] == {"words": "Open  today"}


def test_the_checks_find_nothing_wrong_with_what_we_ship(team, capsys):
    for template in ("bakery", "consultancy", "portfolio"):
        team.owner.post("sites", {"name": "x", "subdomain": f"from-{template}", "template": template})

    call_command("check_blueprints", "--revisions")

    assert "older=0 bad=0" in capsys.readouterr().out
