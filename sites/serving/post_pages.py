"""The pages that posts have on a site: the list, the archive of a tag, each post, the feed."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.utils.feedgenerator import Atom1Feed

from sites.blueprint.block_upgrades import upgrade_blueprint
from sites.blueprint.schema import Page, PostSettings, Seo, page_model
from sites.models import Post
from sites.selectors import PublishedPosts
from sites.serving import rendering
from sites.serving.rendering import RenderedPage
from sites.serving.translations import get_translations

MAX_FEED_POSTS = 20
MAX_PATH_CHARACTERS = 600  # characters
MAX_TAG_CHARACTERS = 40  # the database would cut a longer one to this, and find it
INVALID_XML_CHARACTERS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
PAGE_NUMBER = re.compile(r"[2-9]|[1-9][0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class PostRoute:
    """What an address below the posts' path asks for: a post, or a page of a list, or the feed."""

    slug: str = ""
    tag: str = ""
    number: int = 1
    atom_feed: bool = False


def parse_post_path(path: str, posts_path: str) -> PostRoute | None:
    """What `path` (decoded, as visitors write it) asks for; None when it can be no page of posts."""
    if path == posts_path:
        return PostRoute()
    rest = path.removeprefix(posts_path + "/")
    if rest == path or len(path) > MAX_PATH_CHARACTERS:
        return None
    if rest == "feed.xml":
        return PostRoute(feed=True)
    match rest.split("/"):
        case ["page", number] if PAGE_NUMBER.fullmatch(number):
            return PostRoute(number=int(number))
        case ["tag", tag] if 0 < len(tag) <= MAX_TAG_CHARACTERS:
            return PostRoute(tag=tag)
        case ["tag", tag, "page", number] if 0 < len(tag) <= MAX_TAG_CHARACTERS and PAGE_NUMBER.fullmatch(
            number
        ):
            return PostRoute(tag=tag, number=int(number))
        case [slug] if 0 < len(slug) <= 100:
            return PostRoute(slug=slug)
    return None


def post_path(posts_path: str, *, slug: str = "", tag: str = "", number: int = 1) -> str:
    """Where a post or a list is found, percent-encoded."""
    parts = (
        [slug]
        if slug
        else [*(["tag", quote(tag, safe="")] if tag else []), *(["page", str(number)] if number > 1 else [])]
    )
    return "/".join([posts_path, *parts])


def post_page_exists(shelf: PublishedPosts, wanted: PostRoute) -> bool:
    """Whether there can be such a page: asked before a blueprint is read, because strangers ask for anything."""
    if wanted.slug:
        return shelf.has(wanted.slug)
    return bool(shelf.posts(tag=wanted.tag, limit=1, offset=wanted.number - 1))


def render_post_route(
    blueprint: dict[str, Any], wanted: PostRoute, scene: rendering.RenderContext
) -> RenderedPage | None:
    """The page that was asked for; None when there is none."""
    if wanted.slug:
        post = scene.shelf.post(wanted.slug) if scene.shelf else None
        return render_post(blueprint, post, scene) if post else None
    return _render_post_list(blueprint, wanted, scene)


def render_post(blueprint: dict[str, Any], post: Post, scene: rendering.RenderContext) -> RenderedPage:
    """One post with its neighbours."""
    document = {"id": "post", "path": "/", "title": "A post", "blocks": post.blocks}
    upgrade_blueprint({"pages": [document]})
    path = post_path(_post_settings(blueprint).path, slug=post.slug)
    page = Page.model_construct(
        id="post",
        path=path,
        title=post.title,
        seo=Seo(description=post.excerpt[:320]),
        blocks=page_model().model_validate(document).blocks,
    )
    earlier, later = scene.shelf.beside(post) if scene.shelf and post.live else (None, None)
    return rendering.render_template(
        "site/post.html", blueprint, page, scene, post=post, earlier=earlier, later=later, heading_block=""
    )


def _render_post_list(
    blueprint: dict[str, Any], wanted: PostRoute, scene: rendering.RenderContext
) -> RenderedPage | None:
    chosen = _post_settings(blueprint)
    start = (wanted.number - 1) * chosen.per_page
    posts = scene.shelf.posts(tag=wanted.tag, limit=chosen.per_page + 1, offset=start) if scene.shelf else []
    if not posts:
        return None
    words = get_translations(blueprint["settings"].get("locale", "en"))
    title = chosen.title or words["posts"]
    page = Page.model_construct(
        id="posts",
        path=post_path(chosen.path, tag=wanted.tag, number=wanted.number),
        title=f"{title}: {wanted.tag}" if wanted.tag else title,
        seo=Seo(noindex=wanted.number > 1),
        blocks=[],
    )
    newer = post_path(chosen.path, tag=wanted.tag, number=wanted.number - 1) if wanted.number > 1 else ""
    older = (
        post_path(chosen.path, tag=wanted.tag, number=wanted.number + 1)
        if len(posts) > chosen.per_page
        else ""
    )
    return rendering.render_template(
        "site/posts.html", blueprint, page, scene, posts=posts[: chosen.per_page], newer=newer, older=older
    )


def atom_feed(blueprint: dict[str, Any], base_url: str, shelf: PublishedPosts) -> str:
    """The newest posts as Atom (RFC 4287)."""
    chosen = _post_settings(blueprint)
    site = blueprint["settings"]
    made = Atom1Feed(
        title=strip_invalid_xml(site["title"]),
        link=base_url + chosen.path,
        description=strip_invalid_xml(site.get("seo", {}).get("description", "")),
        language=site.get("locale", "en"),
        feed_url=f"{base_url}{chosen.path}/feed.xml",
        feed_guid=f"{base_url}{chosen.path}",
    )
    for post in shelf.posts(limit=MAX_FEED_POSTS):
        made.add_item(
            title=strip_invalid_xml(post.title),
            link=base_url + post_path(chosen.path, slug=post.slug),
            description=strip_invalid_xml(post.excerpt),
            author_name=strip_invalid_xml(post.byline) or None,
            pubdate=post.published_at,
            updateddate=max(post.updated_at, post.published_at or post.updated_at),
            categories=[strip_invalid_xml(tag) for tag in post.tags],
            unique_id=f"urn:uuid:{post.pk}",
        )
    return made.writeString("utf-8")


def strip_invalid_xml(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return INVALID_XML_CHARACTERS.sub("", text)


def indexable_post_paths(blueprint: dict[str, Any], shelf: PublishedPosts, *, most: int) -> list[str]:
    """The list and the posts, newest first, at most `most`; nothing where there are no posts."""
    path = _post_settings(blueprint).path
    slugs = shelf.slugs(limit=max(most - 1, 0))
    known = {page["path"] for page in blueprint["pages"]}
    return [*([path] if slugs and path not in known else []), *(post_path(path, slug=slug) for slug in slugs)]


def _post_settings(blueprint: dict[str, Any]) -> PostSettings:
    return PostSettings.model_validate(blueprint["settings"].get("posts", {}))
