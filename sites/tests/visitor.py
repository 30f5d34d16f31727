"""A visitor of published sites, who asks one edge, as one web process has it."""

from django.core.wsgi import get_wsgi_application

from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.blueprint.schema import validate_blueprint
from sites.services import publishing
from sites.serving.site_server import SiteServer
from sites.tests.factories import SiteFactory, document


class Visitor:
    """Asks one edge, as one web process has it."""

    def __init__(self):
        self.edge = SiteServer(get_wsgi_application())

    def ask(self, path, host, method="GET", **headers):
        answer = {}
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "HTTP_HOST": host,
            **{f"HTTP_{k.upper()}": v for k, v in headers.items()},
        }
        body = b"".join(
            self.edge(
                environ,
                lambda status, given, *_: answer.update(
                    status=int(status[:3]), headers=dict(given), all=given
                ),
            )
        )
        assert len({name for name, _ in answer["all"]}) == len(answer["all"]), "a header was sent twice"
        return answer["status"], answer["headers"], body


def publish(blueprint=None, **options):
    site = SiteFactory(blueprint=validate_blueprint(blueprint or document()), **options)
    with tenancy.context(tenancy.user_context(site.owner_id)):
        publishing.publish_site(site, actor=SYSTEM, if_match=ANY_VERSION)
    return site, f"{site.subdomain}.localhost"
