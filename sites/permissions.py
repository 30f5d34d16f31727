"""Scopes of API keys for sites. A signed-in user needs none of them.

Which role on a site an action needs is declared in `sites/views/` by `@action_policy`; docs/permissions.md
lists all.
"""

from core.permissions import scope

SITES_READ = scope("sites.read", "Read your sites, their drafts and releases")
SITES_WRITE = scope("sites.write", "Make, change and delete your sites and their drafts")
SITES_PUBLISH = scope("sites.publish", "Publish and unpublish your sites")
