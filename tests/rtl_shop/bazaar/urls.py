from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.urls import include, path
from store import payments

urlpatterns = [
    path("admin/", admin.site.urls),
    path("gateway/webhook/", payments.webhook, name="gateway_webhook"),
    *i18n_patterns(path("", include("store.urls"))),
]
