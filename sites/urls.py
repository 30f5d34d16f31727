from core.http.routes import route
from sites.views.drafts import BlockViewSet, BlueprintViewSet, RevisionViewSet
from sites.views.members import InvitationLinkViewSet, InvitationViewSet, JoinViewSet, MemberViewSet
from sites.views.posts import PostViewSet
from sites.views.public import PublicViewSet
from sites.views.publishing import (
    PreviewViewSet,
    PublishingViewSet,
    ReleaseViewSet,
    ReviewViewSet,
    ScheduleViewSet,
)
from sites.views.sites import CatalogueViewSet, SiteViewSet

SITE = "sites/<uuid:pk>"
PUBLIC = "public/sites/<str:host>"

urlpatterns = [
    route("sites", SiteViewSet, get="list", post="create"),
    route(SITE, SiteViewSet, get="retrieve", patch="partial_update", delete="destroy"),
    route(f"{SITE}/restore", SiteViewSet, post="restore"),
    route(f"{SITE}/publish", PublishingViewSet, post="publish"),
    route(f"{SITE}/unpublish", PublishingViewSet, post="unpublish"),
    route(f"{SITE}/blueprint", BlueprintViewSet, get="retrieve", put="update", patch="partial_update"),
    route(f"{SITE}/blocks/<str:block>", BlockViewSet, get="retrieve", patch="partial_update"),
    route(f"{SITE}/revisions", RevisionViewSet, get="list"),
    route(f"{SITE}/revisions/<uuid:revision>", RevisionViewSet, get="retrieve"),
    route(f"{SITE}/revisions/<uuid:revision>/restore", RevisionViewSet, post="restore"),
    route(f"{SITE}/differences", RevisionViewSet, get="compare"),
    route(f"{SITE}/releases", ReleaseViewSet, get="list"),
    route(f"{SITE}/releases/<uuid:release>/restore", ReleaseViewSet, post="restore"),
    route(f"{SITE}/releases/<uuid:release>/publish", ReleaseViewSet, post="publish"),
    route(f"{SITE}/schedules", ScheduleViewSet, get="list", post="create"),
    route(f"{SITE}/schedules/<uuid:schedule>", ScheduleViewSet, delete="destroy"),
    route(f"{SITE}/reviews", ReviewViewSet, get="list", post="create"),
    route(f"{SITE}/reviews/<uuid:review>", ReviewViewSet, delete="destroy"),
    route(f"{SITE}/reviews/<uuid:review>/approve", ReviewViewSet, post="approve"),
    route(f"{SITE}/reviews/<uuid:review>/return", ReviewViewSet, post="send_back"),
    route(f"{SITE}/previews", PreviewViewSet, get="list", post="create"),
    route(f"{SITE}/previews/<uuid:preview>", PreviewViewSet, delete="destroy"),
    route(f"{SITE}/members", MemberViewSet, get="list"),
    route(f"{SITE}/members/<uuid:member>", MemberViewSet, patch="partial_update", delete="destroy"),
    route(f"{SITE}/transfer", MemberViewSet, post="transfer"),
    route(f"{SITE}/invitations", InvitationViewSet, get="list", post="create"),
    route(f"{SITE}/invitations/<uuid:invitation>", InvitationViewSet, delete="destroy"),
    route("invitations/open", InvitationLinkViewSet, post="open"),
    route("invitations/accept", JoinViewSet, post="accept"),
    route(f"{SITE}/posts", PostViewSet, get="list", post="create"),
    route(
        f"{SITE}/posts/<uuid:post_id>", PostViewSet, get="retrieve", patch="partial_update", delete="destroy"
    ),
    route(f"{SITE}/posts/<uuid:post_id>/restore", PostViewSet, post="restore"),
    route(PUBLIC, PublicViewSet, get="retrieve"),
    route(f"{PUBLIC}/pages", PublicViewSet, get="retrieve_page"),
    route(f"{PUBLIC}/posts", PublicViewSet, get="list_posts"),
    route(f"{PUBLIC}/posts/<slug:slug>", PublicViewSet, get="retrieve_post"),
    route("blueprint/schema", CatalogueViewSet, get="blueprint_schema"),
    route("site-templates", CatalogueViewSet, get="templates"),
]
