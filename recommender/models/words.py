"""What people read for the names that are stored: events, places of lists, stages of a run, reasons and triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

WORDS: Mapping[str, Any] = {
    # event types
    "view_item_list": _("view item list"),
    "select_item": _("select item"),
    "view_item": _("view item"),
    "search": _("search"),
    "add_to_cart": _("add to cart"),
    "remove_from_cart": _("remove from cart"),
    "purchase": _("purchase"),
    "refund": _("refund"),
    "dismiss_item": _("dismiss item"),
    # slots
    "home": _("home"),
    "similar": _("similar"),
    "bought_together": _("bought together"),
    "cart": _("cart"),
    "recently_viewed": _("recently viewed"),
    "buy_again": _("buy again"),
    "trending": _("trending"),
    # rungs
    "champion": _("champion"),
    "untrained": _("untrained"),
    "reduced": _("reduced"),
    "lexical": _("lexical"),
    "popularity": _("popularity"),
    "words": _("words"),
    "shop_order": _("shop order"),
    "empty": _("empty"),
    # stages of a list
    "history": _("history"),
    "encoding": _("encoding"),
    "retrieval": _("retrieval"),
    "vectors": _("vectors"),
    "grading": _("grading"),
    "policy": _("policy"),
    "live": _("live prices"),
    # stages of a run
    "waiting": _("waiting"),
    "dataset": _("dataset"),
    "adaptation": _("adaptation"),
    "encoder": _("encoder"),
    "teacher": _("teacher"),
    "context": _("context"),
    "head": _("head"),
    "impressions": _("impressions"),
    "refresh": _("refresh"),
    "bundle": _("bundle"),
    "evaluation": _("evaluation"),
    "publication": _("publication"),
    # sources and devices
    "page": _("page"),
    "api": _("API"),
    "order": _("order"),
    "signal": _("signal"),
    "mobile": _("mobile"),
    "tablet": _("tablet"),
    "desktop": _("desktop"),
    # circumstances
    "hour": _("hour"),
    "device": _("device"),
    "region": _("region"),
    "slot": _("slot"),
    "type": _("type"),
    # what the doctor examines
    "account": _("account"),
    "ages": _("ages"),
    "alarms": _("alarms"),
    "arrivals": _("arrivals"),
    "background": _("background"),
    "bundles": _("bundles"),
    "cache": _("cache"),
    "disk": _("disk"),
    "item ids": _("item ids"),
    "items": _("items"),
    "lists": _("lists"),
    "months": _("months"),
    "order consent": _("order consent"),
    "orders": _("orders"),
    "pages": _("pages"),
    "pauses": _("pauses"),
    "snapshot": _("snapshot"),
    "retention": _("retention"),
    "settings": _("settings"),
    "tables": _("tables"),
    "test event": _("test event"),
    "urls": _("URLs"),
    # why events were left out
    "bot": _("bot"),
    "burst": _("burst"),
    "claimed_too_often": _("claimed too often"),
    "duplicate": _("duplicate"),
    "future_time": _("future time"),
    "merged_order_line": _("merged order line"),
    "neither_item_nor_query": _("neither item nor query"),
    "quantity_not_positive": _("quantity not positive"),
    "refunded_purchase": _("refunded purchase"),
    "unknown_item": _("unknown item"),
    "view_flood": _("view flood"),
    # what else the report of a run's data has
    "n_quantities_capped": _("quantities capped"),
    "data_hash": _("data hash"),
}


def words_of(name: str) -> str:
    """Return a stored name in the reader's language; one that is not in the table without its underscores."""
    return str(WORDS.get(name) or name.replace("_", " "))


def title_of(name: str) -> str:
    """Return it with a capital."""
    return str(capfirst(words_of(name)))
