"""What a host includes: `path("recommender/", include("recommender.urls"))` puts the API at `recommender/api/v1/`."""

from django.urls import include, path

from recommender import blocks
from recommender.api import beacon, health

app_name = "recommender"

urlpatterns = [
    path("api/v1/", include("recommender.api.urls")),
    path("beacon", beacon.beacon, name="beacon"),
    path("blocks/<str:slot>", blocks.block, name="block"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics_view, name="metrics"),
]
