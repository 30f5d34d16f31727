"""The public listener: published sites first, then Django. `internal` is the second listener."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()

from core import boot, internal  # noqa: E402 - both need the settings and the apps
from sites.edge import Edge  # noqa: E402

boot.check()
application = Edge(_django)
internal_application = internal.application
