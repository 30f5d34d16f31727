from django.urls import URLPattern

from analytics.views.definitions import (
    AnnotationViewSet,
    DefinitionViewSet,
    FunnelViewSet,
    GoalViewSet,
    SegmentViewSet,
    ShareViewSet,
    SubscriptionViewSet,
)
from analytics.views.events import EventsViewSet, RawEventsViewSet
from analytics.views.reports import ReportViewSet
from analytics.views.settings import SettingsViewSet
from core.http.routes import route

ANALYTICS = "sites/<uuid:pk>/analytics"


def definition_routes(name: str, viewset: type[DefinitionViewSet]) -> list[URLPattern]:
    """The routes of goals, segments or funnels: the list, and a single one by its id."""
    detail = f"{ANALYTICS}/{name}/<uuid:{viewset.kind.value}>"
    return [
        route(f"{ANALYTICS}/{name}", viewset, get="list", post="create"),
        route(detail, viewset, get="retrieve", patch="partial_update", delete="destroy"),
    ]


urlpatterns = [
    route(f"{ANALYTICS}/summary", ReportViewSet, get="summary"),
    route(f"{ANALYTICS}/timeseries", ReportViewSet, get="timeseries"),
    route(f"{ANALYTICS}/breakdown", ReportViewSet, get="breakdown"),
    route(f"{ANALYTICS}/realtime", ReportViewSet, get="realtime"),
    route(f"{ANALYTICS}/drops", ReportViewSet, get="drops"),
    route(f"{ANALYTICS}/settings", SettingsViewSet, get="retrieve", patch="partial_update"),
    route("sites/<uuid:pk>/events", EventsViewSet, post="create"),
    route(f"{ANALYTICS}/events", RawEventsViewSet, get="events"),
    route(f"{ANALYTICS}/conversions", ReportViewSet, get="conversions"),
    route(f"{ANALYTICS}/funnels/<uuid:funnel>/report", ReportViewSet, get="funnel"),
    *definition_routes("goals", GoalViewSet),
    *definition_routes("segments", SegmentViewSet),
    *definition_routes("funnels", FunnelViewSet),
    route(f"{ANALYTICS}/annotations", AnnotationViewSet, get="list", post="create"),
    route(f"{ANALYTICS}/annotations/<uuid:annotation>", AnnotationViewSet, delete="destroy"),
    route(f"{ANALYTICS}/shares", ShareViewSet, get="list", post="create"),
    route(f"{ANALYTICS}/shares/<uuid:share>", ShareViewSet, delete="destroy"),
    route(f"{ANALYTICS}/weekly-mail", SubscriptionViewSet, get="retrieve", put="create", delete="destroy"),
]
