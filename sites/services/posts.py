"""Posts: written, published at a time, changed under their version, found again after their slug changed."""

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.text import slugify

from audit.actors import SYSTEM, Actor
from audit.services import record
from core import tenancy
from core.errors import FieldProblem, Invalid
from core.http.preconditions import IfMatch
from sites.blueprint import schema
from sites.errors import NotDeleted, RoleTooLow, SlugTaken, TooManyPosts
from sites.models import Access, Draft, EachAt, FormerSlug, Post, Site
from sites.services.sites import locked
from sites.serving import change_stream
from sites.subdomains import host_of

MAX_POSTS = 20_000  # of a site, deleted ones included
SLUG_LENGTH = 100
BATCH = 200


@transaction.atomic
def create_post(site: Site, facts: dict[str, Any], *, actor: Actor, role: Access.Role, now: datetime) -> Post:
    """Write a post; it is published when `published_at` has come. Without a slug it gets one from its title.

    Raises RoleTooLow when somebody below editor publishes, SlugTaken, TooManyPosts, Invalid with pointers.
    """
    facts = _checked(site, facts)
    site = locked(site)
    if Post.objects.filter(site=site).count() >= MAX_POSTS:
        raise TooManyPosts
    post = Post(site=site, author_id=actor.id)
    _guard(post, facts, role=role, actor=actor)
    facts["slug"] = facts.get("slug") or _free_slug(site, facts["title"])
    _apply(post, facts, now=now)
    _save(post, force_insert=True)
    record("post.created", actor=actor, subject=post)
    _record_showing(post, before=False, actor=actor)
    if post.live:
        show_posts(site)
    return post


@transaction.atomic
def change_post(
    post: Post, facts: dict[str, Any], *, actor: Actor, role: Access.Role, if_match: IfMatch, now: datetime
) -> Post:
    """Change a post. What is published changes at once; visitors who know an old slug are sent on.

    Raises PreconditionFailed, RoleTooLow, SlugTaken, Invalid with pointers.
    """
    facts = _checked(post.site, facts)
    site, post = _locked(post)
    if_match.require_match(post.version)
    _guard(post, facts, role=role, actor=actor)
    before = post.live
    old_slug = post.slug
    _apply(post, facts, now=now)
    post.version += 1
    _save(post)
    if post.slug != old_slug:
        FormerSlug.objects.update_or_create(site=site, slug=old_slug, defaults={"post": post})
    record("post.changed", actor=actor, subject=post, fields=sorted(facts))
    _record_showing(post, before=before, actor=actor)
    if before or post.live:
        show_posts(site)
    return post


@transaction.atomic
def delete_post(post: Post, *, actor: Actor, role: Access.Role, if_match: IfMatch, now: datetime) -> None:
    """Hide a post at once; its slug stays reserved while it can be restored.

    Raises PreconditionFailed, RoleTooLow.
    """
    site, post = _locked(post)
    if_match.require_match(post.version)
    _guard(post, {}, role=role, actor=actor)
    post.deleted_at = now
    post.version = post.version + 1
    _save(post)
    record("post.deleted", actor=actor, subject=post)
    if post.live:
        show_posts(site)


@transaction.atomic
def restore_post(post: Post, *, actor: Actor, role: Access.Role) -> Post:
    """Bring a deleted post back as it was, published if it was. Raises NotDeleted, RoleTooLow."""
    site, post = _locked(post, deleted=True)
    _guard(post, {}, role=role, actor=actor)
    if post.deleted_at is None:
        raise NotDeleted
    post.deleted_at = None
    post.version = post.version + 1
    _save(post)
    record("post.restored", actor=actor, subject=post)
    if post.live:
        show_posts(site)
    return post


def publish_due_posts(*, now: datetime) -> int:
    """Show the posts whose time has come, each once however many workers ask; return how many."""
    due = Post.objects.due(now).filter(site__deleted_at=None)
    with tenancy.context(tenancy.SYSTEM):
        sites = list(Site.objects.filter(pk__in=due.order_by().values("site").distinct()[:BATCH]))
    shown = 0
    for found in sites:
        with tenancy.context(tenancy.SYSTEM):
            site = locked(found)
            posts = list(due.filter(site=site).defer("blocks").select_for_update(of=("self",))[:BATCH])
            Post.objects.filter(pk__in=[post.pk for post in posts]).update(
                live=True, version=F("version") + 1
            )
            for post in posts:
                record("post.published", actor=SYSTEM, subject=post)
            if posts:
                show_posts(site)
            shown += len(posts)
    return shown


def purge_posts(before: datetime) -> int:
    """Delete for good what was hidden before then; return how many. In context `system`."""
    old = Post.objects.filter(deleted_at__lt=before)
    purged = 0
    for pk in list(old.values_list("pk", flat=True)):
        with transaction.atomic():
            post = old.select_for_update().defer("blocks").filter(pk=pk).first()
            if post is None:  # restored since
                continue
            record("post.purged", actor=SYSTEM, subject=post)
            post.delete()
            purged += 1
    return purged


def _locked(post: Post, *, deleted: bool = False) -> tuple[Site, Post]:
    """The site's row, then the post's, as they are now.

    Raises DoesNotExist, for a deleted post too unless that is wanted.
    """
    site = locked(post.site)
    rows = Post.objects.get_queryset() if deleted else Post.objects.alive()
    return site, rows.select_for_update(of=("self",), no_key=True).get(pk=post.pk)


def _guard(post: Post, facts: dict[str, Any], *, role: Access.Role, actor: Actor) -> None:
    """An author writes posts of their own until they are published; the rest is for editors.

    Raises RoleTooLow.
    """
    if role.reaches(Access.Role.EDITOR):
        return
    own = post.author_id == actor.id and post.published_at is None
    if not own or facts.get("published_at") or facts.get("author", actor.id) != actor.id:
        raise RoleTooLow


def _checked(site: Site, facts: dict[str, Any]) -> dict[str, Any]:
    """With validated blocks, before anything is held: that may take a while. Raises Invalid."""
    if "blocks" not in facts:
        return dict(facts)
    return {**facts, "blocks": schema.validate_blocks(facts["blocks"], pages=_pages_of(site))}


def _apply(post: Post, facts: dict[str, Any], *, now: datetime) -> None:
    for name, value in facts.items():
        if name == "author":
            post.author_id = _member(post.site, value)
        else:
            setattr(post, name, value)
    post.live = post.published_at is not None and post.published_at <= now


def _pages_of(site: Site) -> set[str]:
    """The ids of the pages that links may name."""
    return set(
        Draft.objects.filter(site=site).values_list(EachAt("blueprint", "$.pages[*].id"), flat=True).get()
    )


def _member(site: Site, person: Any) -> Any:
    """The id of somebody who may write here. Raises Invalid."""
    writers = Access.objects.filter(site=site, user__deleted_at=None, user__is_active=True).exclude(
        role="viewer"
    )
    if person is not None and not writers.filter(user_id=person).exists():
        raise Invalid([FieldProblem("/author", "not_member", "This is no member who writes here.")])
    return person


def _save(post: Post, **options: Any) -> None:
    try:
        with transaction.atomic():
            post.save(**options)
    except IntegrityError:
        raise SlugTaken from None


def _free_slug(site: Site, title: str) -> str:
    """A slug from the title; with a number where it is taken. A title without Latin letters gets `post`."""
    base = slugify(title)[: SLUG_LENGTH - 6].strip("-") or "post"
    rows = (Post.objects, FormerSlug.objects)  # an address that leads somewhere is not given away by accident
    taken = {
        slug
        for found in rows
        for slug in found.filter(site=site, slug__startswith=base).values_list("slug", flat=True)
    }
    return next(
        slug for slug in (base, *(f"{base}-{n}" for n in range(2, MAX_POSTS + 2))) if slug not in taken
    )


def _record_showing(post: Post, *, before: bool, actor: Actor) -> None:
    if post.live != before:
        record("post.published" if post.live else "post.unpublished", actor=actor, subject=post)


def show_posts(site: Site) -> None:
    """What visitors see of the posts changed; the site is locked."""
    site.posts_version += 1
    site.save(update_fields=["posts_version"])
    if site.status == Site.Status.LIVE:
        change_stream.announce(site, host_of(site.subdomain))
