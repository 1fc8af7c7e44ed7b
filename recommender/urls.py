"""What a host includes: `path("recommender/", include("recommender.urls"))` puts the API at `recommender/api/v1/`."""

from django.urls import include, path

app_name = "recommender"

urlpatterns = [
    path("api/v1/", include("recommender.api.urls")),
]
