"""Endpoints that answer with lists: search, the slots, and completions of what is being typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from recommender import conf, pipeline, serving
from recommender.api import frozen
from recommender.api.base import ApiView, shown
from recommender.api.parameters import RecommendationParameters, SearchParameters, SuggestParameters
from recommender.api.problems import Problem
from recommender.api.serializers import RECOMMENDATION_SLOTS, SuggestionsSerializer
from recommender.identity import shopper_of
from recommender.models import Item, Scope
from recommender.serving.filters import filter_names
from recommender.types import Arrangement, Slot

BESIDE_AN_ITEM = (Slot.SIMILAR, Slot.BOUGHT_TOGETHER)


class SearchView(ApiView):
    """Items for a query."""

    scope = Scope.LISTS.value
    parameters = SearchParameters

    def get(self, request: Request) -> Response:
        """Search, personal to the shopper; an empty query lists nothing."""
        parameters = self.values
        shopper = shopper_of(request._request)
        filters = {
            name: _plain(parameters[name]) for name in filter_names() if parameters.get(name) not in (None, False)
        }
        arrangement: Arrangement = {
            "filters": filters,
            "sort": parameters["sort"],
            "facets": parameters["facets"],
            "personal": parameters["personal"],
        }
        if cursor := parameters["cursor"]:
            if cursor == frozen.FIRST:
                with _in_time():
                    whole = pipeline.search_whole(parameters["q"], shopper=shopper, **arrangement)
                cursor = frozen.freeze(whole, shopper)
            page = frozen.page_at(cursor, shopper, limit=parameters["limit"])
            return shown(request._request, page.ranking, next_cursor=page.next_cursor)
        limit, offset = parameters["limit"], parameters["offset"]
        with _in_time():
            ranking = pipeline.search(parameters["q"], shopper=shopper, limit=limit, offset=offset, **arrangement)
        return shown(request._request, ranking)


class RecommendationsView(ApiView):
    """The list of one slot."""

    scope = Scope.LISTS.value
    parameters = RecommendationParameters

    def get(self, request: Request, slot: str) -> Response:
        """Recommend; unknown items in the cart are passed over, an unknown `item_id` is a 404."""
        if slot not in RECOMMENDATION_SLOTS:
            raise Problem("unknown-slot", _unknown_slot(slot))
        parameters = self.values
        _require_item(Slot(slot), parameters["item_id"])
        with _in_time():
            ranking = pipeline.recommend(
                slot,
                shopper=shopper_of(request._request),
                item_id=parameters["item_id"],
                cart_item_ids=parameters["cart"],
                limit=parameters["limit"],
                new_only=parameters["new_only"],
                exclude=parameters["exclude"],
            )
        return shown(request._request, ranking, current_item_id=parameters["item_id"])


class SuggestView(ApiView):
    """Completions while a shopper types."""

    scope = ""
    parameters = SuggestParameters

    def get(self, request: Request) -> Response:
        """Suggest queries, categories and items. Reads no table and records nothing."""
        parameters = self.values
        suggestions = pipeline.suggest(parameters["q"], limit=parameters["limit"])
        entries = [dataclasses.asdict(suggestion) for suggestion in suggestions]
        return Response(SuggestionsSerializer({"query": parameters["q"], "suggestions": entries}).data)


def _in_time() -> AbstractContextManager[None]:
    return pipeline.within(conf.deadline_seconds("API_DEADLINE_SECONDS"))


def _plain(value: Any) -> str | Sequence[str]:
    """A filter as the pipeline takes it."""
    return f"{value:.12g}" if isinstance(value, float) else "1" if value is True else tuple(value)


def _require_item(slot: Slot, item_id: str) -> None:
    """Raise `Problem` where the slot stands beside an item and none, or an unknown one, is named."""
    if not item_id:
        if slot in BESIDE_AN_ITEM:
            message = f"The slot {slot.value} stands beside an item: name it, as in ?item_id=<id>."
            raise Problem("invalid-request", message, {"item_id": message})
        return
    if item_id not in serving.current().shelf.index and not Item.objects.filter(item_id=item_id).exists():
        message = "The parameter item_id names no item of this catalogue. Take ids from search or from a list."
        raise Problem("unknown-item", message, {"item_id": message})


def _unknown_slot(slot: str) -> str:
    if slot == Slot.SEARCH:
        return "Search has an endpoint of its own: GET search?q=."
    return f"{conf.closest(slot, RECOMMENDATION_SLOTS)} There are: {', '.join(RECOMMENDATION_SLOTS)}.".strip()
