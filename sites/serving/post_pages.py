"""The pages that posts have on a site: the list, the archive of a tag, each post, the feed."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.utils.feedgenerator import Atom1Feed

from sites.blueprint.schema import Page, PostSettings, Seo, page_model
from sites.blueprint.schema import upgrade as upgrade_blueprint
from sites.models import Post
from sites.selectors import PublishedPosts
from sites.serving import rendering
from sites.serving.rendering import Rendered
from sites.serving.translations import translations

FEED_POSTS = 20
MAX_PATH = 600  # characters
MAX_TAG = 40  # the database would cut a longer one to this, and find it
UNFIT_FOR_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NUMBER = re.compile(r"[2-9]|[1-9][0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class PostRoute:
    """What an address below the posts' path asks for: a post, or a page of a list, or the feed."""

    slug: str = ""
    tag: str = ""
    number: int = 1
    feed: bool = False


def read(path: str, posts_path: str) -> PostRoute | None:
    """What `path` (decoded, as visitors write it) asks for; None when it can be no page of posts."""
    if path == posts_path:
        return PostRoute()
    rest = path.removeprefix(posts_path + "/")
    if rest == path or len(path) > MAX_PATH:
        return None
    if rest == "feed.xml":
        return PostRoute(feed=True)
    match rest.split("/"):
        case ["page", number] if NUMBER.fullmatch(number):
            return PostRoute(number=int(number))
        case ["tag", tag] if 0 < len(tag) <= MAX_TAG:
            return PostRoute(tag=tag)
        case ["tag", tag, "page", number] if 0 < len(tag) <= MAX_TAG and NUMBER.fullmatch(number):
            return PostRoute(tag=tag, number=int(number))
        case [slug] if 0 < len(slug) <= 100:
            return PostRoute(slug=slug)
    return None


def address(posts_path: str, *, slug: str = "", tag: str = "", number: int = 1) -> str:
    """Where a post or a list is found, percent-encoded."""
    parts = (
        [slug]
        if slug
        else [*(["tag", quote(tag, safe="")] if tag else []), *(["page", str(number)] if number > 1 else [])]
    )
    return "/".join([posts_path, *parts])


def is_there(shelf: PublishedPosts, wanted: PostRoute) -> bool:
    """Whether there can be such a page: asked before a blueprint is read, because strangers ask for anything."""
    if wanted.slug:
        return shelf.has(wanted.slug)
    return bool(shelf.posts(tag=wanted.tag, limit=1, offset=wanted.number - 1))


def render_wanted(
    blueprint: dict[str, Any], wanted: PostRoute, scene: rendering.RenderContext
) -> Rendered | None:
    """The page that was asked for; None when there is none."""
    if wanted.slug:
        post = scene.shelf.post(wanted.slug) if scene.shelf else None
        return render_post(blueprint, post, scene) if post else None
    return _render_list(blueprint, wanted, scene)


def render_post(blueprint: dict[str, Any], post: Post, scene: rendering.RenderContext) -> Rendered:
    """One post with its neighbours."""
    document = {"id": "post", "path": "/", "title": "A post", "blocks": post.blocks}
    upgrade_blueprint({"pages": [document]})
    path = address(_settings(blueprint).path, slug=post.slug)
    page = Page.model_construct(
        id="post",
        path=path,
        title=post.title,
        seo=Seo(description=post.excerpt[:320]),
        blocks=page_model().model_validate(document).blocks,
    )
    earlier, later = scene.shelf.neighbours(post) if scene.shelf and post.live else (None, None)
    return rendering.render(
        "site/post.html", blueprint, page, scene, post=post, earlier=earlier, later=later, heading_block=""
    )


def _render_list(
    blueprint: dict[str, Any], wanted: PostRoute, scene: rendering.RenderContext
) -> Rendered | None:
    chosen = _settings(blueprint)
    start = (wanted.number - 1) * chosen.per_page
    posts = scene.shelf.posts(tag=wanted.tag, limit=chosen.per_page + 1, offset=start) if scene.shelf else []
    if not posts:
        return None
    words = translations(blueprint["settings"].get("locale", "en"))
    title = chosen.title or words["posts"]
    page = Page.model_construct(
        id="posts",
        path=address(chosen.path, tag=wanted.tag, number=wanted.number),
        title=f"{title}: {wanted.tag}" if wanted.tag else title,
        seo=Seo(noindex=wanted.number > 1),
        blocks=[],
    )
    newer = address(chosen.path, tag=wanted.tag, number=wanted.number - 1) if wanted.number > 1 else ""
    older = (
        address(chosen.path, tag=wanted.tag, number=wanted.number + 1) if len(posts) > chosen.per_page else ""
    )
    return rendering.render(
        "site/posts.html", blueprint, page, scene, posts=posts[: chosen.per_page], newer=newer, older=older
    )


def feed(blueprint: dict[str, Any], base_url: str, shelf: PublishedPosts) -> str:
    """The newest posts as Atom (RFC 4287)."""
    chosen = _settings(blueprint)
    site = blueprint["settings"]
    made = Atom1Feed(
        title=printable(site["title"]),
        link=base_url + chosen.path,
        description=printable(site.get("seo", {}).get("description", "")),
        language=site.get("locale", "en"),
        feed_url=f"{base_url}{chosen.path}/feed.xml",
        feed_guid=f"{base_url}{chosen.path}",
    )
    for post in shelf.posts(limit=FEED_POSTS):
        made.add_item(
            title=printable(post.title),
            link=base_url + address(chosen.path, slug=post.slug),
            description=printable(post.excerpt),
            author_name=printable(post.byline) or None,
            pubdate=post.published_at,
            updateddate=max(post.updated_at, post.published_at or post.updated_at),
            categories=[printable(tag) for tag in post.tags],
            unique_id=f"urn:uuid:{post.pk}",
        )
    return made.writeString("utf-8")


def printable(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return UNFIT_FOR_XML.sub("", text)


def addresses(blueprint: dict[str, Any], shelf: PublishedPosts, *, most: int) -> list[str]:
    """The list and the posts, newest first, at most `most`; nothing where there are no posts."""
    path = _settings(blueprint).path
    slugs = shelf.slugs(limit=max(most - 1, 0))
    known = {page["path"] for page in blueprint["pages"]}
    return [*([path] if slugs and path not in known else []), *(address(path, slug=slug) for slug in slugs)]


def _settings(blueprint: dict[str, Any]) -> PostSettings:
    return PostSettings.model_validate(blueprint["settings"].get("posts", {}))
