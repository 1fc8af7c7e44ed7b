"""Our search page at Oscar's address: include it as "search/", above Oscar's URLs."""

from django.urls import path

from recommender.contrib.oscar.views import OscarSearchView

app_name = "recommender_search"
urlpatterns = [path("", OscarSearchView.as_view(), name="search")]
