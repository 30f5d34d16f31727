from accounts.views import ConfigViewSet, MeViewSet, SignInViewSet
from core.routes import route

urlpatterns = [
    route("config", ConfigViewSet, get="retrieve"),
    route("auth/register", SignInViewSet, post="register"),
    route("auth/login", SignInViewSet, post="login"),
    route("auth/refresh", SignInViewSet, post="refresh"),
    route("auth/logout", SignInViewSet, post="logout"),
    route("auth/logout-all", MeViewSet, post="logout_all"),
    route("auth/me", MeViewSet, get="retrieve", patch="partial_update", delete="destroy"),
]
