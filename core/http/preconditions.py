"""Conditional requests (RFC 9110, 13): nothing is overwritten that the client has not seen."""

from dataclasses import dataclass

from django.http import HttpRequest
from rest_framework.request import Request

from core.errors import PreconditionFailed, PreconditionRequired


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The versions that a client accepts; None accepts any (`*`)."""

    versions: frozenset[int] | None

    def check(self, version: int) -> None:
        """Raise PreconditionFailed unless `version` is one of them."""
        if self.versions is not None and version not in self.versions:
            raise PreconditionFailed


@dataclass(frozen=True, slots=True)
class IfMatchTag:
    """The entity tags that a client accepts, for what has no version; None accepts any (`*`)."""

    tags: frozenset[str] | None

    def check(self, tag: str) -> None:
        """Raise PreconditionFailed unless `tag` (without quotes) is one of them."""
        if self.tags is not None and tag not in self.tags:
            raise PreconditionFailed


def if_match_tag(request: Request | HttpRequest) -> IfMatchTag:
    """The If-Match header as opaque tags, strong ones only. Raises PreconditionRequired."""
    header = request.headers.get("If-Match", "").strip()
    if not header:
        raise PreconditionRequired
    if header == "*":
        return IfMatchTag(None)
    tags = (tag.strip() for tag in header.split(","))
    return IfMatchTag(frozenset(tag[1:-1] for tag in tags if len(tag) > 2 and tag[0] == tag[-1] == '"'))


def if_match(request: Request | HttpRequest, *, required: bool = True) -> IfMatch:
    """The If-Match header as versions.

    Raises PreconditionRequired; what is not one of our tags matches nothing.
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
    """Whether If-None-Match says that the client has `etag` (weak comparison, RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags


ANY_VERSION = IfMatch(None)
"""For callers without a precondition, such as staff in the admin: every version matches."""
