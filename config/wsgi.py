"""The WSGI applications of the two listeners.

`application` is public: it serves published sites, and passes everything else to Django.
`internal_application` serves /metrics and /internal/*.
"""

import gc
import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()

from django.urls import get_resolver  # noqa: E402 - these imports need the loaded apps

from core.admission.api_server import ApiServer  # noqa: E402
from core.observability import internal_server, process_gauges, startup_checks  # noqa: E402
from sites.blueprint.schema import blueprint_model  # noqa: E402
from sites.serving.site_server import SiteServer  # noqa: E402

startup_checks.run_checks()
get_resolver().url_patterns  # noqa: B018 - imports every view before the first request
blueprint_model()
# The objects loaded so far live as long as the process. Frozen, they are not examined by each collection.
gc.collect()
gc.freeze()
# What a request leaves behind is collected young. A full collection also examines the large documents that
# other threads have just loaded, and stops every thread for tens of milliseconds: it runs rarely.
gc.set_threshold(2_000, 10, 500)
process_gauges.start()
# A thread that computes gives way to the others after this time. With Python's 5 ms, a request that waits for
# a store a few times would wait for expensive requests each time.
sys.setswitchinterval(0.001)
application = SiteServer(ApiServer(_django))
internal_application = internal_server.application
