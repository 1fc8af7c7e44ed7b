from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path, re_path
from goods import cart, pages, paying

urlpatterns = [
    path("pay/hook", paying.hook, name="hook"),
    path("api/cart", cart.CartView.as_view(), name="cart_api"),
    *i18n_patterns(
        path("", pages.home, name="home"),
        path("find/", pages.find, name="find"),
        re_path(r"^a/(?P<slug>[\w-]+)/$", pages.article, name="article"),
        path("b/<slug:pk>/", pages.BookPage.as_view(), name="book"),
        path("v/<slug:pk>/", pages.voucher, name="voucher"),
        path("about/", pages.about, name="about"),
        path("cart/add/", cart.add, name="cart_add"),
        path("cart/", cart.show, name="cart"),
        path("order/", paying.order, name="order"),
        path("news/<slug:slug>/", pages.news, name="news"),
    ),
]
if "recommender" in settings.INSTALLED_APPS:
    urlpatterns.append(path("r/", include("recommender.urls")))
