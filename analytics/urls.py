from analytics.views import EventsViewSet, ReportViewSet, SettingsViewSet
from core.routes import route

ANALYTICS = "sites/<uuid:pk>/analytics"
urlpatterns = [
    route(f"{ANALYTICS}/summary", ReportViewSet, get="summary"),
    route(f"{ANALYTICS}/timeseries", ReportViewSet, get="timeseries"),
    route(f"{ANALYTICS}/breakdown", ReportViewSet, get="breakdown"),
    route(f"{ANALYTICS}/realtime", ReportViewSet, get="realtime"),
    route(f"{ANALYTICS}/drops", ReportViewSet, get="drops"),
    route(f"{ANALYTICS}/settings", SettingsViewSet, get="retrieve", patch="partial_update"),
    route("sites/<uuid:pk>/events", EventsViewSet, post="create"),
]
