"""Addresses that name an object by each kind of key, for the checks of pages."""

from django.http import HttpResponse
from django.urls import path


def page(request, **parts):
    return HttpResponse()


urlpatterns = [
    path("n/<int:pk>/", page, name="by_number"),
    path("s/<slug:slug>/", page, name="by_slug"),
    path("c/<slug:stock_code>/", page, name="by_code"),
    path("t/<ref>/", page, name="by_text"),
]
