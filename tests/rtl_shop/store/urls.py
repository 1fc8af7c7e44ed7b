from django.urls import path

from store import views

app_name = "store"
urlpatterns = [
    path("", views.home, name="home"),
    path("cookies/", views.cookies, name="cookies"),
    path("search/", views.search, name="search"),
    path("category/<slug:slug>/", views.CategoryView.as_view(), name="category"),
    path("product/<slug:slug>/", views.ProductView.as_view(), name="product"),
    path("cart/", views.cart, name="cart"),
    path("cart/add/<slug:slug>/", views.cart_add, name="cart_add"),
    path("cart/remove/<int:pk>/", views.cart_remove, name="cart_remove"),
    path("checkout/", views.checkout, name="checkout"),
    path("thanks/<slug:number>/", views.thanks, name="thanks"),
]
