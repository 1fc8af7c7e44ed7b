from catalogue.api import GiftCardViewSet, ProductViewSet
from django.urls import include, path
from rest_framework.routers import DefaultRouter
from sales.api import CartView, OrderViewSet, TokenView

router = DefaultRouter()
router.register("products", ProductViewSet, basename="product")
router.register("giftcards", GiftCardViewSet, basename="giftcard")
router.register("orders", OrderViewSet, basename="order")

urlpatterns = [
    path("api/token/", TokenView.as_view(), name="token"),
    path("api/cart/", CartView.as_view(), name="cart"),
    path("api/", include(router.urls)),
]
