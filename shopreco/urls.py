"""URLs of the demo: the admin, the recommender and the shop."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("recommender/", include("recommender.urls")),
    path("", include("shopreco.shop.urls")),
]
