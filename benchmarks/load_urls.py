"""The addresses of the demo, and one that answers with a word: what server and middleware cost by themselves."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def floor(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("floor/", floor), path("", include("shopreco.urls"))]
