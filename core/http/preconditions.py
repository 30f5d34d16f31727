"""Conditional requests (RFC 9110 section 13).

If-Match prevents lost updates, If-None-Match avoids sending what the client has already.
"""

from dataclasses import dataclass

from django.http import HttpRequest
from rest_framework.request import Request

from core.errors import PreconditionFailed, PreconditionRequired


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The parsed If-Match header of a resource with a version. None matches every version (`*`)."""

    versions: frozenset[int] | None

    def require_match(self, version: int) -> None:
        """Raise PreconditionFailed when the header does not contain `version`."""
        if self.versions is not None and version not in self.versions:
            raise PreconditionFailed


@dataclass(frozen=True, slots=True)
class IfMatchTag:
    """The parsed If-Match header of a resource whose ETag is not a version. None matches every tag (`*`)."""

    tags: frozenset[str] | None

    def require_match(self, tag: str) -> None:
        """Raise PreconditionFailed when the header does not contain `tag` (without quotes)."""
        if self.tags is not None and tag not in self.tags:
            raise PreconditionFailed


def if_match_tag(request: Request | HttpRequest) -> IfMatchTag:
    """Return the strong tags of the If-Match header. Raises PreconditionRequired when there is no header."""
    header = request.headers.get("If-Match", "").strip()
    if not header:
        raise PreconditionRequired
    if header == "*":
        return IfMatchTag(None)
    tags = (tag.strip() for tag in header.split(","))
    return IfMatchTag(frozenset(tag[1:-1] for tag in tags if len(tag) > 2 and tag[0] == tag[-1] == '"'))


def if_match(request: Request | HttpRequest, *, required: bool = True) -> IfMatch:
    """Return the versions in the If-Match header. A tag that is not a version matches nothing.

    Without the header every version matches, or with `required` PreconditionRequired is raised.
    """
    header = request.headers.get("If-Match", "").strip()
    if not header and required:
        raise PreconditionRequired
    if not header or header == "*":
        return IfMatch(None)
    tags = (tag.strip() for tag in header.split(","))
    return IfMatch(
        frozenset(
            int(tag[1:-1])
            for tag in tags
            if len(tag) < 22 and tag[:1] == tag[-1:] == '"' and tag[1:-1].isdecimal()
        )
    )


def matches_if_none_match(header: str, etag: str) -> bool:
    """Return whether an If-None-Match header contains `etag`.

    The comparison is weak (RFC 9110 section 13.1.2).
    """
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags


ANY_VERSION = IfMatch(None)
"""Matches every version: for callers without a precondition, such as the admin."""
