"""The search page that replaces Oscar's."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView
from oscar.apps.search.signals import user_search


class OscarSearchView(TemplateView):
    """Sends `user_search` as Oscar's own view does, so that its statistics go on, and needs no Haystack."""

    template_name = "recommender/oscar/search.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        query = request.GET.get("q", "")
        user_search.send(sender=self, session=request.session, user=request.user, query=query)
        return self.render_to_response(self.get_context_data(query=query))
