"""URLs of the shop."""

from django.urls import path

from shopreco.shop.views import account, buying, catalogue

app_name = "shop"

urlpatterns = [
    path("", catalogue.home, name="home"),
    path("products/", catalogue.department, name="products"),
    path("department/<slug:slug>/", catalogue.department, name="department"),
    path("item/<str:stock_code>/", catalogue.product, name="product"),
    path("search/", catalogue.search, name="search"),
    path("cart/", buying.cart, name="cart"),
    path("cart/add/<str:stock_code>/", buying.cart_add, name="cart_add"),
    path("cart/update/<str:stock_code>/", buying.cart_update, name="cart_update"),
    path("cart/remove/<str:stock_code>/", buying.cart_remove, name="cart_remove"),
    path("checkout/", buying.checkout, name="checkout"),
    path("thanks/<str:number>/", buying.thanks, name="thanks"),
    path("sign-in/", account.sign_in, name="sign_in"),
    path("sign-out/", account.sign_out, name="sign_out"),
    path("consent/", account.consent, name="consent"),
    path("privacy/", account.privacy, name="privacy"),
]
