from django.conf.urls.i18n import i18n_patterns
from django.http import HttpResponse
from django.urls import include, path


def shown(request, pk):
    return HttpResponse(f"{pk}")


urlpatterns = [
    path("r/", include("recommender.urls")),
    *i18n_patterns(path("toy/<int:pk>/", shown, name="toy"), path("tool/<int:pk>/", shown, name="tool")),
]
