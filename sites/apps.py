from django.apps import AppConfig


class SitesConfig(AppConfig):
    name = "sites"

    def ready(self) -> None:
        from core import gate, lifecycle
        from sites import edge, previews, services

        edge.mount("/_/a/", edge.serve_picture)
        edge.mount(services.PREFIX, previews.serve, unpublished=True)
        gate.keep(r"/api/v1/sites/([0-9a-f-]{36})$", lambda found, who: f"site:{found[1]}")
        gate.keep(r"/api/v1/sites$", lambda found, who: f"sites-of:{who.user_id}")
        lifecycle.on_hide("person", services.hide_sites_of)
        lifecycle.on_hide("person", services.end_work_of)
        lifecycle.on_restore("person", services.restore_sites_of)
        lifecycle.on_export(services.personal_data)
        lifecycle.on_erase(services.erase_person)
        lifecycle.on_purge(services.purge_sites)
        lifecycle.on_purge(services.purge_posts)
