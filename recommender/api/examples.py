"""Examples of the OpenAPI document; a test holds each against its own schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from recommender.api import problems

VISITOR_ID = "3f8a2c1e-7b64-4d0f-9a51-2c6e8b7d4f10"
RANKING_ID = "9d1b6a52-0c3e-4f7a-8e21-5b4c3d2e1f00"

INSTALLATION_ID = "6b0c9f3a-52d1-4c7e-8f0a-1d2e3c4b5a69"
SIGNED_CLAIMS = "3f8a2c1e7b644d0f9a512c6e8b7d4f10.6b0c9f3a52d14c7e8f0a1d2e3c4b5a69.1772361000.events+lists+profile"

TOKEN_PAIR: dict[str, Any] = {
    "token": f"{SIGNED_CLAIMS}:b3J7Tq0bXb5m4mC0k2mM0s1pWkzv3rj1cV0t9S8aYxE",
    "expires_at": "2026-03-01T10:30:00Z",
    "refresh_token": "6b0c9f3a52d14c7e8f0a1d2e3c4b5a69.1:b3J7Tq0bXb5m4mC0k2mM0s1pWkzv3rj1cV0t9S8aYxE",
    "refresh_expires_at": "2026-08-28T09:30:00Z",
    "token_id": INSTALLATION_ID,
    "scopes": ["events", "lists", "profile"],
}

VISITOR: dict[str, Any] = {**TOKEN_PAIR, "visitor_id": VISITOR_ID, "consent": True}

TOKENS: dict[str, Any] = {
    "tokens": [
        {
            "token_id": INSTALLATION_ID,
            "name": "Pixel 8",
            "scopes": ["events", "lists", "profile"],
            "is_signed_in": True,
            "is_current": True,
            "created_at": "2026-03-01T09:30:00Z",
            "refreshed_at": "2026-03-01T09:30:00Z",
            "expires_at": "2026-08-28T09:30:00Z",
        }
    ]
}

LINK: dict[str, Any] = {"visitor_id": VISITOR_ID, "user": "42", "linked_at": "2026-03-01T09:30:00Z"}

EVENTS: dict[str, Any] = {
    "sent_at": "2026-03-01T09:35:00Z",
    "events": [
        {"message_id": "app-7c1f-0001", "type": "view_item", "item_id": "22423", "occurred_at": "2026-03-01T09:30:00Z"},
        {
            "message_id": "app-7c1f-0002",
            "type": "add_to_cart",
            "item_id": "22423",
            "quantity": 2,
            "price": "12.75",
            "currency": "GBP",
            "ranking_id": RANKING_ID,
            "position": 1,
        },
    ],
}

RECEIPT: dict[str, Any] = {
    "accepted": 1,
    "duplicate": 1,
    "rejected": [{"index": 2, "field": "item_id", "message": "view_item needs item_id."}],
    "warnings": [
        {
            "index": 0,
            "field": "item_id",
            "message": "No item has this id: the event is stored, but it teaches nothing until there is one. "
            "Did you mean '22423'?",
        }
    ],
    "dropped": 0,
    "message": "1 stored, 1 known, 1 rejected, 0 dropped; see warnings.",
}

ENTRY: dict[str, Any] = {
    "item_id": "22423",
    "position": 1,
    "title": "Regency Cakestand 3 Tier",
    "url": "/item/22423/",
    "image": "",
    "price": "12.75",
    "currency": "GBP",
    "available": True,
    "reasons": [{"code": "matches_query", "text": "Matches “cakestand”", "item_id": ""}],
    "score": 0.913,
    "is_near": False,
    "rules": [7],
}

INTENT: dict[str, Any] = {
    "text": "cakstand",
    "words": [
        {"text": "cakstand", "role": "product", "probability": 0.91, "value": ""},
        {"text": "under 20", "role": "price", "probability": 1.0, "value": ""},
    ],
    "categories": {"Baking": 0.82},
    "min_price": None,
    "max_price": 20.0,
    "excluded": [],
}

OFFERED_FILTERS: list[dict[str, Any]] = [
    {"name": "max_price", "value": "20", "text": "Up to 20", "query": "cakstand", "is_applied": True},
    {"name": "category", "value": "Baking", "text": "Baking", "query": "cakstand under 20", "is_applied": False},
]

RESULTS: dict[str, Any] = {
    "ranking_id": RANKING_ID,
    "slot": "search",
    "rung": "champion",
    "bundle": "5d0c2a7be91f",
    "catalog_version": "1a2b3c4d",
    "query": "cakstand under 20",
    "corrected_query": "cakestand",
    "n_found": 1,
    "n_near": 0,
    "intent": INTENT,
    "offered_filters": OFFERED_FILTERS,
    "relaxed": "",
    "relaxed_query": "",
    "notice": "",
    "sort": "relevance",
    "facets": [],
    "rules": [7],
    "redirect": "",
    "banners": ["Baking is 10 % off until Sunday"],
    "skipped": [],
    "next_cursor": "",
    "items": [ENTRY],
}

RECOMMENDATIONS: dict[str, Any] = {
    **RESULTS, "slot": "home", "query": "", "corrected_query": "", "intent": None, "offered_filters": [],
}  # fmt: skip

SUGGESTIONS: dict[str, Any] = {
    "query": "cak",
    "suggestions": [
        {"text": "cakestand", "kind": "query", "item_id": "", "url": ""},
        {"text": "Regency Cakestand 3 Tier", "kind": "item", "item_id": "22423", "url": "/item/22423/"},
    ],
}

PROFILE: dict[str, Any] = {
    "visitor_id": VISITOR_ID,
    "user": None,
    "consent": True,
    "profiling": True,
    "counts": {"add_to_cart": 1, "view_item": 4},
    "headline": "Mostly looks at cakestands.",
    "interests": [
        {"name": "cakestand", "share": 0.8, "text": "1 put in the cart, 4 viewed", "last_at": "2026-03-01T09:30:00Z"}
    ],
}

DETAILS = {
    "invalid-request": "limit: Ensure this value is less than or equal to 100.",
    "malformed-json": "The body is not JSON: Expecting value at line 1, column 1.",
    "bad-request": "The request is malformed.",
    "not-identified": "Sign in, or allow the visitor's cookie first. Ask for a token with POST visitors.",
    "invalid-token": "This shop did not sign the token. Ask for a token with POST visitors.",
    "invalid-key": "This shop has no such key, or it was revoked: see manage.py recommender_keys.",
    "too-many-requests": "Send it again in 12 seconds. The headers RateLimit and RateLimit-Policy say the limit.",
    "expired-token": "Get the next one: POST tokens/refresh with your refresh_token.",
    "out-of-scope": "This needs a token for 'profile'; yours was issued for: events.",
    "not-signed-in": "The app's visitor belongs to a user: sign them in with POST me/link.",
    "unknown-erasure": "DELETE me answers with the address of its receipt.",
    "unknown-rule": "GET rules lists those that there are.",
    "stale-rule": "ben has changed it since you opened it. Nothing was changed: look at it again first. Read it "
    "again, and send the version that you have read then.",
    "refused-step": "You changed this rule last, so somebody else must publish it (TWO_PERSON_RULES).",
    "unknown-endpoint": "A rule has the steps submit, publish, withdraw, copy.",
    "unknown-token": "GET me/tokens lists the ids of those that count.",
    "not-linked": "There is no link that POST me/link has made.",
    "linked-to-another": "Sign this app out with DELETE me/tokens/current, and begin a new visitor with POST visitors.",
    "forbidden": "CSRF Failed: CSRF token missing.",
    "unknown-item": "The parameter item_id names no item of this catalogue. Take ids from search or from a list.",
    "unknown-slot": "Did you mean 'home'? There are: home, similar, bought_together, cart.",
    "expired-cursor": "The results are kept for 30 minutes. Begin again with cursor=*.",
    "length-required": "Send the body with its Content-Length: this server reads no chunks.",
    "too-large": "The body may have at most 262144 bytes. Send the events in several calls.",
    "unsupported-media-type": "Send Content-Type: application/json, not text/plain.",
    "unavailable": "Nothing was stored. Send the same request again in 5 seconds.",
}


def of_problem(kind: str) -> OpenApiExample:
    """Return a problem as a client sees it."""
    status, title = problems.KINDS[kind]
    shown = {"type": problems.TYPE_PREFIX + kind, "title": title, "status": status, "detail": DETAILS[kind]}
    return OpenApiExample(
        title, value=shown, response_only=True, status_codes=[str(status)], media_type=problems.MEDIA_TYPE
    )
