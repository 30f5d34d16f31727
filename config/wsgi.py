"""The public listener: published sites first, then Django. `internal` is the second listener."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()

from django.urls import get_resolver  # noqa: E402 - these need the settings and the apps

from core.observability import internal_server, startup_checks  # noqa: E402
from sites.blueprint.schema import blueprint_model  # noqa: E402
from sites.serving.site_server import SiteServer  # noqa: E402

startup_checks.run_checks()
get_resolver().url_patterns  # noqa: B018 - loads every view
blueprint_model()
gc.collect()
gc.freeze()  # what is loaded by now stays: the collector need not walk it in the middle of a request
application = SiteServer(_django)
internal_application = internal_server.application
