"""Every write of sites that carries a rule, by what it is about."""

from core.preconditions import IfMatch
from sites.services.drafts import (
    patch_block,
    patch_draft,
    restore_blueprint,
    save_draft,
    thin_revisions,
)
from sites.services.websites import (
    MAX_SITES,
    change_site,
    create_site,
    delete_site,
    hide_sites_of,
    publish_site,
    purge_sites,
    restore_site,
    restore_sites_of,
    unpublish_site,
)
