from django.urls import include, path, re_path

from souk import views

urlpatterns = [
    path("", views.kalas, name="kalas"),
    re_path(r"^kala/(?P<id>\d+)/(?P<slug>[-\w]+)/$", views.kala, name="kala"),
    path("journal/<slug:slug>/", views.post, name="post"),
    path("basket/", views.basket, name="basket"),
    path("basket/add/<int:kala_id>/", views.basket_add, name="basket_add"),
    path("basket/remove/<int:kala_id>/", views.basket_remove, name="basket_remove"),
    path("pay/", views.pay, name="pay"),
    path("gateway/", views.webhook, name="webhook"),
    path("recommender/", include("recommender.urls")),
]
