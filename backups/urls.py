from backups.views import BackupViewSet, RestorePointViewSet
from core.http.routes import route

BACKUP = "backups/<uuid:pk>"
SITE = "sites/<uuid:pk>"
urlpatterns = [
    route("backups", BackupViewSet, get="list", post="create"),
    route("backups/overview", BackupViewSet, get="overview"),
    route(BACKUP, BackupViewSet, get="retrieve"),
    route(f"{BACKUP}/verify", BackupViewSet, post="verify"),
    route(f"{BACKUP}/drill", BackupViewSet, post="drill"),
    route(f"{SITE}/restores", RestorePointViewSet, get="restores"),
    route(f"{SITE}/restore-points", RestorePointViewSet, get="list", post="create"),
    route(f"{SITE}/restore-points/<uuid:point>/restore", RestorePointViewSet, post="restore"),
]
