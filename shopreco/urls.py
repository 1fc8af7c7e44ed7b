"""URLs of the demo: the admin, the recommender and the shop."""

from django.contrib import admin
from django.urls import include, path
from django.views.i18n import set_language

from recommender.api import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("language/", set_language, name="set_language"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics_view),
    path("recommender/", include("recommender.urls")),
    path("", include("shopreco.shop.urls")),
]
