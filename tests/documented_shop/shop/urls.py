from django.urls import path

from shop import views

app_name = "shop"
urlpatterns = [
    path("", views.home, name="home"),
    path("search/", views.search, name="search"),
    path("p/<slug:slug>/", views.product, name="product"),
    path("news/<slug:slug>/", views.news, name="news"),
    path("about/", views.about, name="about"),
    path("cart/", views.cart, name="cart"),
    path("cart/add/", views.cart_add, name="cart_add"),
    path("cart/form/", views.cart_form, name="cart_form"),
    path("cart/api/", views.cart_api, name="cart_api"),
    path("order/", views.order, name="order"),
    path("paid/", views.paid, name="paid"),
]
