from django.apps import AppConfig


class SitesConfig(AppConfig):
    name = "sites"

    def ready(self) -> None:
        """Register the handlers of sites with the site server and `core.lifecycle`."""
        from core import lifecycle, quotas
        from sites.services import members, personal_data, posts, sites
        from sites.services import previews as previews_services
        from sites.services.quotas import measure_sites_of
        from sites.serving import previews, site_server

        site_server.mount("/_/a/", site_server.serve_picture)
        site_server.mount(
            previews_services.PREVIEW_PATH_PREFIX, previews.serve_preview, allow_unpublished=True
        )
        lifecycle.on_soft_delete("person", sites.soft_delete_sites_of)
        lifecycle.on_soft_delete("person", members.cancel_pending_work_of)
        lifecycle.on_restore("person", sites.restore_sites_of)
        lifecycle.on_export(personal_data.export_personal_data)
        lifecycle.on_erase(personal_data.erase_person)
        lifecycle.on_purge(sites.purge_sites)
        lifecycle.on_purge(posts.purge_posts)
        quotas.register_kinds("drafts", "revisions", "releases", "posts", measure=measure_sites_of)
