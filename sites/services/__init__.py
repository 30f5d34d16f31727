"""Every write of sites that carries a rule, by what it is about."""

from core.preconditions import IfMatch
from sites.services.drafts import (
    patch_block,
    patch_draft,
    restore_blueprint,
    save_draft,
    thin_revisions,
)
from sites.services.members import (
    accept_invitation,
    change_role,
    end_work_of,
    find_invitation,
    forget_invitations,
    invite,
    remove_member,
    transfer_site,
    withdraw_invitation,
)
from sites.services.personal_data import erase_person, personal_data
from sites.services.posts import (
    change_post,
    create_post,
    delete_post,
    publish_due_posts,
    purge_posts,
    restore_post,
)
from sites.services.previews import PREFIX, create_preview, find_preview, forget_previews, link_to, revoke_preview
from sites.services.publishing import (
    cancel_schedule,
    forget_schedules,
    publish_scheduled,
    publish_site,
    roll_back,
    run_due_schedules,
    schedule_change,
    unpublish_site,
)
from sites.services.reviews import approve_review, ask_for_review, return_review, withdraw_review
from sites.services.upgrades import check_blueprints, upgrade_blueprints
from sites.services.websites import (
    MAX_SITES,
    change_site,
    create_site,
    delete_site,
    hide_sites_of,
    purge_sites,
    restore_site,
    restore_sites_of,
)
