from core.routes import route
from sites.views import (
    BlockViewSet,
    BlueprintViewSet,
    CatalogueViewSet,
    ReleaseViewSet,
    RevisionViewSet,
    SiteViewSet,
)

urlpatterns = [
    route("sites", SiteViewSet, get="list", post="create"),
    route("sites/<uuid:pk>", SiteViewSet, get="retrieve", patch="partial_update", delete="destroy"),
    route("sites/<uuid:pk>/restore", SiteViewSet, post="restore"),
    route("sites/<uuid:pk>/publish", SiteViewSet, post="publish"),
    route("sites/<uuid:pk>/unpublish", SiteViewSet, post="unpublish"),
    route("sites/<uuid:pk>/blueprint", BlueprintViewSet, get="retrieve", put="update", patch="partial_update"),
    route("sites/<uuid:pk>/blocks/<str:block>", BlockViewSet, get="retrieve", patch="partial_update"),
    route("sites/<uuid:pk>/revisions", RevisionViewSet, get="list"),
    route("sites/<uuid:pk>/revisions/<uuid:revision>", RevisionViewSet, get="retrieve"),
    route("sites/<uuid:pk>/revisions/<uuid:revision>/restore", RevisionViewSet, post="restore"),
    route("sites/<uuid:pk>/differences", RevisionViewSet, get="compare"),
    route("sites/<uuid:pk>/releases", ReleaseViewSet, get="list"),
    route("sites/<uuid:pk>/releases/<uuid:release>/restore", ReleaseViewSet, post="restore"),
    route("blueprint/schema", CatalogueViewSet, get="blueprint_schema"),
    route("site-templates", CatalogueViewSet, get="templates"),
]
