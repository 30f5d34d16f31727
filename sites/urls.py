from core.routes import route
from sites.views import BlueprintViewSet, CatalogueViewSet, ReleaseViewSet, SiteViewSet

urlpatterns = [
    route("sites", SiteViewSet, get="list", post="create"),
    route("sites/<uuid:pk>", SiteViewSet, get="retrieve", patch="partial_update", delete="destroy"),
    route("sites/<uuid:pk>/restore", SiteViewSet, post="restore"),
    route("sites/<uuid:pk>/publish", SiteViewSet, post="publish"),
    route("sites/<uuid:pk>/unpublish", SiteViewSet, post="unpublish"),
    route("sites/<uuid:pk>/blueprint", BlueprintViewSet, get="retrieve", put="update"),
    route("sites/<uuid:pk>/releases", ReleaseViewSet, get="list"),
    route("blueprint/schema", CatalogueViewSet, get="blueprint_schema"),
    route("site-templates", CatalogueViewSet, get="templates"),
]
