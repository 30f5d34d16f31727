"""The pages of posts on a published site: the list, the archive of a tag, each post, and the Atom feed."""

import re
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from django.utils.feedgenerator import Atom1Feed

from sites.blueprint.block_upgrades import upgrade_page
from sites.blueprint.schema import Page, PostSettings, Seo, page_model
from sites.models import Post
from sites.selectors import PublishedPosts
from sites.serving import rendering
from sites.serving.rendering import RenderedPage
from sites.serving.translations import get_translations

MAX_FEED_POSTS = 20
MAX_PATH_CHARACTERS = 600
# The longest tag that a post can have. PostgreSQL would cut a longer one to this length and match it.
MAX_TAG_CHARACTERS = 40
MAX_SLUG_CHARACTERS = 100
INVALID_XML_CHARACTERS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
PAGE_NUMBER = re.compile(r"[2-9]|[1-9][0-9]{1,4}")  # 1 is no address: the first page has no number


@dataclass(frozen=True, slots=True)
class PostRoute:
    """What a path below the posts' path addresses: a post, one page of a list (of a tag), or the feed."""

    slug: str = ""
    tag: str = ""
    page_number: int = 1
    is_feed: bool = False


def parse_post_path(path: str, posts_path: str) -> PostRoute | None:
    """Return what `path` (percent-decoded) addresses; None when it cannot be a page of posts."""
    if path == posts_path:
        return PostRoute()
    rest = path.removeprefix(posts_path + "/")
    if rest == path or len(path) > MAX_PATH_CHARACTERS:
        return None
    if rest == "feed.xml":
        return PostRoute(is_feed=True)
    match rest.split("/"):
        case ["page", number] if PAGE_NUMBER.fullmatch(number):
            return PostRoute(page_number=int(number))
        case ["tag", tag] if 0 < len(tag) <= MAX_TAG_CHARACTERS:
            return PostRoute(tag=tag)
        case ["tag", tag, "page", number] if 0 < len(tag) <= MAX_TAG_CHARACTERS and PAGE_NUMBER.fullmatch(
            number
        ):
            return PostRoute(tag=tag, page_number=int(number))
        case [slug] if 0 < len(slug) <= MAX_SLUG_CHARACTERS:
            return PostRoute(slug=slug)
    return None


def post_path(posts_path: str, *, slug: str = "", tag: str = "", page_number: int = 1) -> str:
    """Return the percent-encoded path of a post, or of one page of a list (of a tag)."""
    if slug:
        return f"{posts_path}/{slug}"
    path = posts_path
    if tag:
        path += f"/tag/{quote(tag, safe='')}"
    if page_number > 1:
        path += f"/page/{page_number}"
    return path


def post_page_exists(posts: PublishedPosts, route: PostRoute) -> bool:
    """Return whether there is a page at `route`. At most one query.

    The feed and the first page of the list are there without posts too, because pages link to them. Checked
    before the blueprint is loaded, because loading one for every guessed address is expensive.
    """
    if route.is_feed or route == PostRoute():
        return True
    if route.slug:
        return posts.has(route.slug)
    return bool(posts.posts(tag=route.tag, limit=1, offset=route.page_number - 1))


def render_post_route(
    blueprint: dict[str, Any], route: PostRoute, context: rendering.RenderContext
) -> RenderedPage | None:
    """Render the post or the list that `route` addresses; None when there is no such page."""
    if route.slug:
        post = context.posts.post(route.slug) if context.posts else None
        return render_post(blueprint, post, context) if post else None
    return _render_post_list(blueprint, route, context)


def render_post(blueprint: dict[str, Any], post: Post, context: rendering.RenderContext) -> RenderedPage:
    """Render one post with links to the previous and the next one. Raises pydantic's ValidationError."""
    document = {"id": "post", "path": "/", "title": "A post", "blocks": post.blocks}
    upgrade_page(document)
    path = post_path(_post_settings(blueprint).path, slug=post.slug)
    page = Page.model_construct(
        id="post",
        path=path,
        title=post.title,
        seo=Seo(description=post.excerpt[:320]),
        blocks=page_model().model_validate(document).blocks,
    )
    earlier, later = context.posts.neighbours(post) if context.posts and post.live else (None, None)
    return rendering.render_template(
        "site/post.html",
        blueprint,
        page,
        context,
        # The template itself shows the title of the post as h1.
        extra_variables={"post": post, "earlier": earlier, "later": later, "h1_block_id": ""},
    )


def _render_post_list(
    blueprint: dict[str, Any], route: PostRoute, context: rendering.RenderContext
) -> RenderedPage | None:
    settings = _post_settings(blueprint)
    offset = (route.page_number - 1) * settings.per_page
    # One post more than a page shows tells whether there is an older page.
    posts = (
        context.posts.posts(tag=route.tag, limit=settings.per_page + 1, offset=offset)
        if context.posts
        else []
    )
    if not posts and route != PostRoute():
        return None
    title = settings.title or get_translations(blueprint["settings"].get("locale", "en"))["posts"]
    page = Page.model_construct(
        id="posts",
        path=post_path(settings.path, tag=route.tag, page_number=route.page_number),
        title=f"{title}: {route.tag}" if route.tag else title,
        seo=Seo(noindex=route.page_number > 1),
        blocks=[],
    )
    newer = older = ""
    if route.page_number > 1:
        newer = post_path(settings.path, tag=route.tag, page_number=route.page_number - 1)
    if len(posts) > settings.per_page:
        older = post_path(settings.path, tag=route.tag, page_number=route.page_number + 1)
    return rendering.render_template(
        "site/posts.html",
        blueprint,
        page,
        context,
        extra_variables={"posts": posts[: settings.per_page], "newer": newer, "older": older},
    )


def atom_feed(blueprint: dict[str, Any], base_url: str, posts: PublishedPosts) -> str:
    """Return the newest posts as an Atom feed (RFC 4287)."""
    posts_path = _post_settings(blueprint).path
    site = blueprint["settings"]
    atom = Atom1Feed(
        title=strip_invalid_xml(site["title"]),
        link=base_url + posts_path,
        description=strip_invalid_xml(site.get("seo", {}).get("description", "")),
        language=site.get("locale", "en"),
        author_name=strip_invalid_xml(site["title"]),  # of posts without a byline; RFC 4287 requires one
        feed_url=f"{base_url}{posts_path}/feed.xml",
        feed_guid=f"{base_url}{posts_path}",
    )
    for post in posts.posts(limit=MAX_FEED_POSTS):
        atom.add_item(
            title=strip_invalid_xml(post.title),
            link=base_url + post_path(posts_path, slug=post.slug),
            # Django declares the summary as HTML.
            description=escape(strip_invalid_xml(post.excerpt)) or None,  # type: ignore[arg-type]
            author_name=strip_invalid_xml(post.byline) or None,
            pubdate=post.published_at,
            updateddate=max(post.updated_at, post.published_at or post.updated_at),
            categories=[strip_invalid_xml(tag) for tag in post.tags],
            unique_id=f"urn:uuid:{post.pk}",
        )
    return atom.writeString("utf-8")


def strip_invalid_xml(text: str) -> str:
    """Remove the characters that XML 1.0 does not allow (section 2.2)."""
    return INVALID_XML_CHARACTERS.sub("", text)


def indexable_post_paths(blueprint: dict[str, Any], posts: PublishedPosts, *, limit: int) -> list[str]:
    """Return the path of the post list, then the paths of the posts, newest first. One query.

    At most `limit` paths; none when the site has no posts. The path of the post list is left out when a page
    of the site has the same path.
    """
    posts_path = _post_settings(blueprint).path
    slugs = posts.slugs(limit=max(limit - 1, 0))
    page_paths = {page["path"] for page in blueprint["pages"]}
    list_paths = [posts_path] if slugs and posts_path not in page_paths else []
    return [*list_paths, *(post_path(posts_path, slug=slug) for slug in slugs)]


def _post_settings(blueprint: dict[str, Any]) -> PostSettings:
    return PostSettings.model_validate(blueprint["settings"].get("posts", {}))
