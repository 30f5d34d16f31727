from core.http.routes import route
from vault.views import ItemViewSet, PasswordViewSet, RotationViewSet, VaultViewSet, VectorsViewSet

VAULT = "vault/<uuid:vault_id>"
ITEM = "vault/<uuid:vault_id>/items/<uuid:item_id>"
urlpatterns = [
    route("vault", VaultViewSet, get="list", post="create"),
    route("auth/password/vaults", PasswordViewSet, post="update"),
    route("vault/changes", VaultViewSet, get="changes"),
    route("vault/vectors", VectorsViewSet, get="retrieve"),
    route(VAULT, VaultViewSet, get="retrieve", put="update", delete="destroy"),
    route(f"{VAULT}/restore", VaultViewSet, post="restore"),
    route(f"{VAULT}/rotate", RotationViewSet, post="rotate"),
    route(f"{VAULT}/items", ItemViewSet, get="list", post="create"),
    route(ITEM, ItemViewSet, get="retrieve", put="update", delete="destroy"),
    route(f"{ITEM}/restore", ItemViewSet, post="restore"),
    route(f"{ITEM}/versions", ItemViewSet, get="versions"),
]
