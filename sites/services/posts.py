"""Posts: write, publish at a time, change, delete and restore."""

from datetime import datetime
from itertools import chain, count
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from audit.actors import SYSTEM, Actor
from audit.services import record
from core import tenancy
from core.errors import FieldProblem, Invalid
from core.http.preconditions import IfMatch
from sites import change_stream
from sites.blueprint import schema
from sites.database_functions import JsonPathQueryArray
from sites.errors import NotDeleted, RoleTooLow, SlugTaken, TooManyPosts
from sites.models import Access, Draft, FormerSlug, Post, Site
from sites.services import quotas
from sites.services.sites import lock_site
from sites.slugs import slug_of
from sites.subdomains import host_of

MAX_POSTS = 20_000  # of one site, deleted ones included
MAX_SLUG_LENGTH = 100
SLUG_SUFFIX_LENGTH = 6  # room for a hyphen and a number up to MAX_POSTS
MEASURED_FIELDS = {"title", "excerpt", "blocks"}  # whose bytes are in `Post.size`
BATCH_SIZE = 200


@transaction.atomic
def create_post(
    site: Site, validated_data: dict[str, Any], *, actor: Actor, role: Access.Role, now: datetime
) -> Post:
    """Create a post. Visitors see it from `published_at` on; without one it is a draft.

    Without a slug the post gets one from its title.

    Raises RoleTooLow when an author tries to publish, SlugTaken, TooManyPosts, QuotaExceeded, and Invalid
    with JSON Pointers.
    """
    validated_data = _with_validated_blocks(site, validated_data)
    site = lock_site(site)
    if Post.objects.filter(site=site).count() >= MAX_POSTS:
        raise TooManyPosts
    post = Post(site=site, author_id=actor.id)
    _check_author_rights(post, validated_data, role=role, actor=actor)
    has_slug = bool(validated_data.get("slug"))
    if not has_slug:
        validated_data["slug"] = _free_slug(site, validated_data["title"])
    _set_fields(post, validated_data, now=now)
    if has_slug:
        _check_former_slugs(post, now=now)
    _save(post, force_insert=True)
    quotas.require_room(site, added=post.size)
    record("post.created", actor=actor, subject=post)
    _record_visibility_change(post, was_live=False, actor=actor)
    if post.live:
        bump_posts_version(site)
    return post


@transaction.atomic
def change_post(
    post: Post,
    changes: dict[str, Any],
    *,
    actor: Actor,
    role: Access.Role,
    if_match: IfMatch,
    now: datetime,
) -> Post:
    """Change a post. Visitors see the change at once when the post is live.

    The URL with an earlier slug redirects to the current one. Another post cannot take that slug for a while.

    Raises PreconditionFailed, RoleTooLow, SlugTaken, QuotaExceeded, and Invalid with JSON Pointers.
    """
    changes = _with_validated_blocks(post.site, changes)
    site, post = _lock_site_and_post(post)
    if_match.require_match(post.version)
    _check_author_rights(post, changes, role=role, actor=actor)
    was_live = post.live
    old_slug = post.slug
    old_size = post.size
    _set_fields(post, changes, now=now)
    post.version += 1
    if post.slug != old_slug:
        _check_former_slugs(post, now=now)
    _save(post)
    if not changes.keys().isdisjoint(MEASURED_FIELDS):
        post.refresh_from_db(fields=["size"])
        quotas.require_room(site, added=post.size - old_size)
    if post.slug != old_slug:
        FormerSlug.objects.update_or_create(
            site=site, slug=old_slug, defaults={"post": post, "released_at": now}
        )
    record("post.changed", actor=actor, subject=post, fields=sorted(changes))
    _record_visibility_change(post, was_live=was_live, actor=actor)
    if was_live or post.live:
        bump_posts_version(site)
    return post


@transaction.atomic
def delete_post(post: Post, *, actor: Actor, role: Access.Role, if_match: IfMatch, now: datetime) -> None:
    """Soft-delete a post. Its slug stays reserved as long as the post can be restored.

    Raises PreconditionFailed, RoleTooLow.
    """
    site, post = _lock_site_and_post(post)
    if_match.require_match(post.version)
    _check_author_rights(post, {}, role=role, actor=actor)
    post.deleted_at = now
    post.version = post.version + 1
    _save(post)
    record("post.deleted", actor=actor, subject=post)
    if post.live:
        bump_posts_version(site)


@transaction.atomic
def restore_post(post: Post, *, actor: Actor, role: Access.Role) -> Post:
    """Restore a soft-deleted post. It is published again if it was. Raises NotDeleted, RoleTooLow."""
    site, post = _lock_site_and_post(post, include_deleted=True)
    _check_author_rights(post, {}, role=role, actor=actor)
    if post.deleted_at is None:
        raise NotDeleted
    post.deleted_at = None
    post.version = post.version + 1
    _save(post)
    record("post.restored", actor=actor, subject=post)
    if post.live:
        bump_posts_version(site)
    return post


def publish_due_posts(*, now: datetime) -> int:
    """Publish the posts whose `published_at` has passed. Returns how many.

    Each post is published once, also when several workers run this at the same time.
    """
    due_posts = Post.objects.due(now).filter(site__deleted_at=None)
    with tenancy.context(tenancy.SYSTEM):
        site_ids = due_posts.order_by().values("site").distinct()[:BATCH_SIZE]
        sites = list(Site.objects.filter(pk__in=site_ids))
    published = 0
    for site_row in sites:
        with tenancy.context(tenancy.SYSTEM):
            site = lock_site(site_row)
            due_posts_of_site = due_posts.filter(site=site).defer("blocks")
            posts = list(due_posts_of_site.select_for_update(of=("self",))[:BATCH_SIZE])
            Post.objects.filter(pk__in=[post.pk for post in posts]).update(
                live=True, version=F("version") + 1
            )
            for post in posts:
                record("post.published", actor=SYSTEM, subject=post)
            if posts:
                bump_posts_version(site)
            published += len(posts)
    return published


def purge_posts(before: datetime) -> int:
    """Delete the rows of posts that were soft-deleted before `before`. Returns how many.

    Runs in the tenancy context `system`.
    """
    expired_posts = Post.objects.filter(deleted_at__lt=before)
    purged = 0
    for pk in list(expired_posts.values_list("pk", flat=True)):
        with transaction.atomic():
            post = expired_posts.select_for_update().defer("blocks").filter(pk=pk).first()
            if post is None:  # restored by a concurrent request
                continue
            record("post.purged", actor=SYSTEM, subject=post)
            post.delete()
            purged += 1
    return purged


def _lock_site_and_post(post: Post, *, include_deleted: bool = False) -> tuple[Site, Post]:
    """Lock the site's row, then the post's row, and return their current values.

    Raises DoesNotExist, also for a deleted post unless `include_deleted`.
    """
    site = lock_site(post.site)
    posts = Post.objects.get_queryset() if include_deleted else Post.objects.alive()
    return site, posts.select_for_update(of=("self",), no_key=True).get(pk=post.pk)


def _check_author_rights(post: Post, changes: dict[str, Any], *, role: Access.Role, actor: Actor) -> None:
    """Raises RoleTooLow unless `role` allows to write this post.

    Editors may write every post. Authors may write their own posts until these are published, and may
    neither publish them nor give them to another author.
    """
    if role.at_least(Access.Role.EDITOR):
        return
    is_own_draft = post.author_id == actor.id and post.published_at is None
    changes_author = changes.get("author", actor.id) != actor.id
    if not is_own_draft or changes.get("published_at") or changes_author:
        raise RoleTooLow


def _with_validated_blocks(site: Site, validated_data: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `validated_data` with validated blocks. Raises Invalid.

    Called before any row is locked, because validating large blocks takes a while.
    """
    if "blocks" not in validated_data:
        return dict(validated_data)
    blocks = schema.validate_blocks(validated_data["blocks"], pages=_page_ids(site))
    return {**validated_data, "blocks": blocks}


def _set_fields(post: Post, changes: dict[str, Any], *, now: datetime) -> None:
    """Set the fields of a post without saving it. Raises Invalid when the author may not write here."""
    for name, value in changes.items():
        if name == "author":
            _check_author(post.site, value)
            post.author_id = value
        else:
            setattr(post, name, value)
    post.live = post.published_at is not None and post.published_at <= now


def _page_ids(site: Site) -> set[str]:
    """Return the ids of the draft's pages. Links in blocks may point to them."""
    page_ids = JsonPathQueryArray("blueprint", "$.pages[*].id")
    return set(Draft.objects.filter(site=site).values_list(page_ids, flat=True).get())


def _check_author(site: Site, user_id: UUID | None) -> None:
    """Raises Invalid unless this user is a member who may write posts. None, no author, is allowed."""
    writers = Access.objects.filter(site=site, user__deleted_at=None, user__is_active=True).exclude(
        role="viewer"
    )
    if user_id is not None and not writers.filter(user_id=user_id).exists():
        raise Invalid(
            [FieldProblem("/author", "not_member", "Choose a member of this site who may write posts.")]
        )


def _save(post: Post, *, force_insert: bool = False) -> None:
    """Raises SlugTaken, which must leave the transaction: the database takes no statement after it."""
    try:
        post.save(force_insert=force_insert)
    except IntegrityError:
        raise SlugTaken from None


def _check_former_slugs(post: Post, *, now: datetime) -> None:
    """Raises SlugTaken when another post gave up this slug less than SOFT_DELETE_FOR ago."""
    reserved = FormerSlug.objects.filter(
        site_id=post.site_id, slug=post.slug, released_at__gt=now - settings.SOFT_DELETE_FOR
    )
    if reserved.exclude(post_id=post.pk).exists():
        raise SlugTaken


def _free_slug(site: Site, title: str) -> str:
    """Return an unused slug made from the title, with a number at the end when the plain one is used.

    A title without letters becomes `post`. Former slugs count as used, because their URLs redirect.
    """
    base = slug_of(title, max_length=MAX_SLUG_LENGTH - SLUG_SUFFIX_LENGTH) or "post"
    posts, former_slugs = (
        manager.filter(site=site, slug__startswith=base).values_list("slug", flat=True)
        for manager in (Post.objects, FormerSlug.objects)
    )
    used_slugs = set(posts.union(former_slugs))
    numbered_slugs = (f"{base}-{number}" for number in count(2))
    return next(slug for slug in chain([base], numbered_slugs) if slug not in used_slugs)


def _record_visibility_change(post: Post, *, was_live: bool, actor: Actor) -> None:
    if post.live != was_live:
        record("post.published" if post.live else "post.unpublished", actor=actor, subject=post)


def bump_posts_version(site: Site) -> None:
    """Increase `posts_version`, because the posts that visitors see have changed. `site` is locked.

    The version is part of the keys of cached pages, so the web processes render them again.
    """
    site.posts_version += 1
    site.save(update_fields=["posts_version"])
    if site.status == Site.Status.LIVE:
        change_stream.announce_host_change(site, host_of(site.subdomain))
