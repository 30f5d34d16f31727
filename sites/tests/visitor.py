"""A visitor of published sites: sends requests to a `SiteServer` of its own, as one web process has it."""

from django.core.wsgi import get_wsgi_application

from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.blueprint.schema import validate_blueprint
from sites.services import publishing
from sites.serving.site_server import SiteServer
from sites.tests.factories import SiteFactory, document


class Visitor:
    """Sends requests to one site server, whose caches are empty at first."""

    def __init__(self):
        self.edge = SiteServer(get_wsgi_application())

    def ask(self, path, host, method="GET", **headers):
        """Send a request; returns the status, the headers and the body."""
        response = {}
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "HTTP_HOST": host,
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }

        def start_response(status, header_list, *_):
            response["status"] = int(status[:3])
            response["headers"] = dict(header_list)
            assert len({name for name, _ in header_list}) == len(header_list), "a header was sent twice"

        body = b"".join(self.edge(environ, start_response))
        return response["status"], response["headers"], body


def publish(blueprint=None, **site_fields):
    """Publish a new site; returns the site and its host."""
    site = SiteFactory(blueprint=validate_blueprint(blueprint or document()), **site_fields)
    with tenancy.context(tenancy.user_context(site.owner_id)):
        publishing.publish_site(site, actor=SYSTEM, if_match=ANY_VERSION)
    return site, f"{site.subdomain}.localhost"
