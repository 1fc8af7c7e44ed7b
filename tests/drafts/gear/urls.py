from django.urls import include, path
from rest_framework.routers import DefaultRouter

from gear import api

router = DefaultRouter()
router.register("products", api.ProductViewSet, basename="product")
router.register("courses", api.CourseViewSet, basename="course")

app = (
    [path("basket/", api.add, name="basket-add"), path("basket/<slug:sku>/", api.remove, name="basket-remove")],
    "v1",
)
urlpatterns = [
    path("api/v1/", include(app, namespace="v1")),
    path("api/v1/", include(router.urls)),
    path("recommender/", include("recommender.urls")),
]
