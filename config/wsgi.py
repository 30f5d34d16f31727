"""The public listener: published sites first, then Django. `internal` is the second listener."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()

from django.urls import get_resolver  # noqa: E402 - these need the settings and the apps

from core import boot, internal  # noqa: E402
from sites.blueprint import blueprint_model  # noqa: E402
from sites.edge import Edge  # noqa: E402

boot.check()
get_resolver().url_patterns  # noqa: B018 - loads every view
blueprint_model()
gc.collect()
gc.freeze()  # what is loaded by now stays: the collector need not walk it in the middle of a request
application = Edge(_django)
internal_application = internal.application
