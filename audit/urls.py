from audit.views import AuditViewSet, LogViewSet
from core.http.routes import route

urlpatterns = [
    route("audit", AuditViewSet, get="list"),
    route("logs", LogViewSet, get="list"),
    route("logs/<uuid:pk>", LogViewSet, get="retrieve"),
]
