"""Sites, their members, drafts, releases and posts.

Row-level security protects every table except `sites_access`, which the policies themselves read.
"""

from sites.models.posts import FormerSlug, Post, PostQuerySet
from sites.models.sites import (
    Access,
    Announcement,
    Draft,
    Invitation,
    Preview,
    Release,
    Review,
    Revision,
    Schedule,
    Site,
    SiteQuerySet,
    SubdomainReservation,
)

__all__ = [
    "Access",
    "Announcement",
    "Draft",
    "FormerSlug",
    "Invitation",
    "Post",
    "PostQuerySet",
    "Preview",
    "Release",
    "Review",
    "Revision",
    "Schedule",
    "Site",
    "SiteQuerySet",
    "SubdomainReservation",
]
