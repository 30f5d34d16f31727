"""Regressions found by security tests of published sites: limits, parallel requests and CORS."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from sites.blueprint.blocks.fields import MAX_OPEN
from sites.tests.factories import document, page

pytestmark = pytest.mark.django_db


@pytest.mark.commits
def test_page_cache_renders_once_for_parallel_visitors(live_team, visitor, monkeypatch):
    from sites.serving import page_cache

    renders = []
    render = page_cache._render
    monkeypatch.setattr(
        page_cache, "_render", lambda *arguments: renders.append(1) or time.sleep(0.2) or render(*arguments)
    )

    def request_home(_):
        try:
            return visitor.request("/", live_team.host)[0]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(request_home, range(8))) == {200}
    assert len(renders) == 1
    assert visitor.edge.pages._pages._creating == {}


@pytest.mark.parametrize("path", ["/blog/\x00", "/blog/tag/\x00", "/blog/tag/a\x00"])
def test_site_server_answers_404_for_nul_in_the_path(live_team, visitor, path):
    assert visitor.request(path, live_team.host)[0] == 404


def test_validate_refuses_deeply_nested_rich_text_quickly(live_team):
    deep_block = {"id": "t", "type": "text", "v": 1, "props": {"html": "<ul><li>" * 6000}}

    started = time.process_time()
    response = live_team.author.put(
        live_team.path("blueprint"),
        document(page(blocks=[{**deep_block, "id": f"t{n}"} for n in range(20)])),
        if_match="*",
    )

    assert response.status_code == 400
    assert time.process_time() - started < 2, "parsing one of these blocks took half a second before"
    wide_block = {**deep_block, "props": {"html": "<ul>" + "<li>x</li>" * 3000 + "</ul>"}}
    assert (
        live_team.author.put(
            live_team.path("blueprint"), document(page(blocks=[wide_block])), if_match="*"
        ).status_code
        == 200
    )
    many_tags_block = {**deep_block, "props": {"html": "</p>" * 500 + "<b>" * (MAX_OPEN + 1)}}
    assert (
        live_team.author.put(
            live_team.path("blueprint"), document(page(blocks=[many_tags_block])), if_match="*"
        ).status_code
        == 400
    )


def test_public_cors_allows_every_origin_to_read_errors(live_team):
    address = f"/api/v1/public/sites/{live_team.host}"
    bad = Client().get(address, headers={"Authorization": "Bearer nonsense"})
    preflights = [Client().options(address, headers={"Origin": "https://x.example"}) for _ in range(5)]

    assert (bad.status_code, bad["Access-Control-Allow-Origin"]) == (401, "*")
    assert {(response.status_code, response["Access-Control-Allow-Origin"]) for response in preflights} == {
        (204, "*")
    }
    assert "RateLimit-Remaining" not in preflights[0]  # a preflight is not counted
