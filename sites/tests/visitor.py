"""A visitor of published sites, and a shortcut that publishes a new site."""

from django.core.wsgi import get_wsgi_application

from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.blueprint.schema import validate_blueprint
from sites.services import publishing
from sites.serving.site_server import SiteServer
from sites.tests.factories import SiteFactory, document


class Visitor:
    """Sends WSGI requests to one site server, which has its own memory like one web process."""

    def __init__(self):
        self.edge = SiteServer(get_wsgi_application())

    def request(self, path, host, method="GET", **headers):
        """Return the status, the headers as a dictionary, and the body."""
        response = {}
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_HOST": host,
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }

        def start_response(status, header_list, *_):
            response.update(status=int(status[:3]), headers=header_list)

        body = b"".join(self.edge(environ, start_response))
        headers_by_name = dict(response["headers"])
        assert len(headers_by_name) == len(response["headers"]), "a header was sent twice"
        return response["status"], headers_by_name, body


def publish(blueprint=None, **site_fields):
    """Create a site and publish it. Returns the site and its host."""
    site = SiteFactory(blueprint=validate_blueprint(blueprint or document()), **site_fields)
    with tenancy.context(tenancy.user_context(site.owner_id)):
        publishing.publish_site(site, actor=SYSTEM, if_match=ANY_VERSION)
    return site, f"{site.subdomain}.localhost"
