"""The OpenAPI document of the API, for drf-spectacular; a host without it never imports this module."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiViewExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from recommender.api import erasures, examples, parameters, problems, serializers, token_shapes
from recommender.api.authentication import SCHEME
from recommender.api.schema_of_rules import rule_operations
from recommender.capture import ITEMLESS, TYPES
from recommender.models import Rule
from recommender.types import EventType, Relaxation, Role, Rung, Slot, Sort, WhySkipped

SETTINGS: dict[str, Any] = {
    "TITLE": "shopreco",
    "DESCRIPTION": "Search and recommendations of a shop, and the events they learn from. Every answer is JSON; every "
    "error is application/problem+json (RFC 9457). An app asks for a token once, by POST visitors; a web page is known "
    "by its own cookies and sends Django's CSRF token with unsafe methods.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVERS": [{"url": "/recommender", "description": "Where the shop includes recommender.urls."}],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "EventType": [event_type.value for event_type in EventType],
        "Slot": [slot.value for slot in Slot],
        "Rung": [rung.value for rung in Rung],
        "Role": [role.value for role in Role],
        "Relaxation": [step.value for step in Relaxation],
        "Sort": [sort.value for sort in Sort],
        "RuleAction": Rule.Action.values,
        "RuleMatch": Rule.Match.values,
        "RuleState": Rule.State.values,
        "WhySkipped": [why.value for why in WhySkipped],
    },
    "SECURITY": [],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "visitorTokenBesideUser": {
                "type": "apiKey",
                "in": "header",
                "name": "Recommender-Visitor",
                "description": "The visitor's token, where Authorization signs the shop's own user in.",
            },
            "shopUser": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "What the shop's own API takes, such as a JWT: REST_FRAMEWORK's "
                "DEFAULT_AUTHENTICATION_CLASSES.",
            },
            "shopSession": {
                "type": "apiKey",
                "in": "cookie",
                "name": "sessionid",
                "description": "The shop's session; needs the header X-CSRFToken.",
            },
        }
    },
}
"""For `manage.py spectacular --custom-settings recommender.api.schema.SETTINGS`; a host's own settings stay its own."""

IDENTIFIED: list[Any] = [{"visitorToken": []}, {"browserCookie": []}, {"secretKey": []}]
ALWAYS = ("invalid-key", "too-many-requests", "unavailable")
COMMON = ("bad-request", "invalid-token", "expired-token", *ALWAYS)
SCOPED = (*COMMON, "out-of-scope")
PERSONAL = (*SCOPED, "not-identified", "not-signed-in")
WITH_BODY = ("invalid-request", "malformed-json", "length-required", "too-large", "unsupported-media-type", "forbidden")


class _KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A key in a header or a cookie."""

    location = key = description = ""

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "apiKey", "in": self.location, "name": self.key, "description": self.description}


class VisitorTokenScheme(_KeyScheme):  # type: ignore[no-untyped-call]
    target_class, name = "recommender.api.authentication.VisitorToken", "visitorToken"
    location, key = "header", "Authorization"
    description = f'"{SCHEME} " and the token that POST visitors answered.'


class SecretKeyScheme(_KeyScheme):  # type: ignore[no-untyped-call]
    target_class, name = "recommender.api.authentication.SecretKey", "secretKey"
    location, key = "header", "Recommender-Key"
    description = "A server's key, `sk_…`. With the header Recommender-User it acts for that user of the shop."


class BrowserCookiesScheme(_KeyScheme):  # type: ignore[no-untyped-call]
    target_class, name = "recommender.api.authentication.BrowserCookies", "browserCookie"
    location, key = "cookie", "recommender_visitor"
    description = "The visitor's cookie, or the shop's session; unsafe methods need the header X-CSRFToken."


class EventShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Says which field an event needs for its type: a search its query, what is about an item the item."""

    target_class = "recommender.api.serializers.EventSerializer"

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> Any:
        shape = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # type: ignore[no-untyped-call]
        rules = [(["search"], "query"), (sorted(TYPES - ITEMLESS), "item_id")]
        shape["allOf"] = [
            {
                "if": {"properties": {"type": {"enum": kinds}}, "required": ["type"]},
                "then": {"properties": {name: {"minLength": 1}}, "required": [name]},
            }
            for kinds, name in rules
        ]
        return shape


def failures(*kinds: str) -> dict[Any, OpenApiResponse]:
    """Return one response per status, with an example of each kind of problem."""
    kinds_by_status: dict[int, list[str]] = {}
    for kind in kinds:
        kinds_by_status.setdefault(problems.KINDS[kind][0], []).append(kind)
    return {
        (status, problems.MEDIA_TYPE): OpenApiResponse(
            serializers.ProblemSerializer,
            description="; ".join(problems.KINDS[kind][1] for kind in same),
            examples=[examples.of_problem(kind) for kind in same],
        )
        for status, same in sorted(kinds_by_status.items())
    }


def answer(status: int, shape: Any, description: str, example: Any = None) -> dict[Any, OpenApiResponse]:
    """Return the response of a success."""
    shown = [] if example is None else [OpenApiExample("Answer", value=example, response_only=True)]
    return {status: OpenApiResponse(shape, description=description, examples=shown)}


OPERATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "recommender.api.tokens.VisitorsView": {
        "post": {
            "operation_id": "createVisitor",
            "summary": "Create a visitor for an app",
            "description": "Once per installation, after the shopper has answered whether they may be recorded.",
            "request": token_shapes.NewVisitorSerializer,
            "responses": answer(201, token_shapes.VisitorSerializer, "The visitor and its tokens.", examples.VISITOR)
            | failures(*(kind for kind in (*WITH_BODY, *ALWAYS) if kind != "forbidden")),
            "examples": [OpenApiExample("Agreed", value={"consent": True}, request_only=True)],
            "auth": [],
        },
    },
    "recommender.api.recording.EventsView": {
        "post": {
            "operation_id": "sendEvents",
            "summary": "Send what the shopper did",
            "description": "202 means committed. Send a batch again after any failure: each message_id is stored once. "
            "sent = accepted + duplicate + rejected + dropped; without consent everything is dropped. The bare list "
            "of events is a body too.",
            "request": serializers.EventBatchSerializer,
            "responses": answer(202, serializers.ReceiptSerializer, "What became of each event.", examples.RECEIPT)
            | failures(*WITH_BODY, *SCOPED),
            "examples": [OpenApiExample("Two events", value=examples.EVENTS, request_only=True)],
        },
    },
    "recommender.api.lists.SearchView": {
        "get": {
            "operation_id": "search",
            "summary": "Search",
            "description": "Items for a query, personal to the shopper. The list is recorded as shown, with consent.",
            "parameters": [parameters.SearchParameters],
            "responses": answer(200, serializers.RankingSerializer, "The list.", examples.RESULTS)
            | failures("invalid-request", "expired-cursor", *SCOPED),
        },
    },
    "recommender.api.lists.RecommendationsView": {
        "get": {
            "operation_id": "recommend",
            "summary": "Recommend",
            "description": "The list of one slot. The list is recorded as shown, with consent.",
            "parameters": [
                OpenApiParameter("slot", str, "path", enum=serializers.RECOMMENDATION_SLOTS, description="The place."),
                parameters.RecommendationParameters,
            ],
            "responses": answer(200, serializers.RankingSerializer, "The list.", examples.RECOMMENDATIONS)
            | failures("invalid-request", "unknown-slot", "unknown-item", *SCOPED),
        },
    },
    "recommender.api.lists.SuggestView": {
        "get": {
            "operation_id": "suggest",
            "summary": "Complete what is being typed",
            "description": "Queries, categories and items. Nothing is recorded.",
            "parameters": [parameters.SuggestParameters],
            "responses": answer(200, serializers.SuggestionsSerializer, "Completions.", examples.SUGGESTIONS)
            | failures("invalid-request", *COMMON),
        },
    },
    "recommender.api.visitor.MeView": {
        "get": {
            "auth": IDENTIFIED,
            "operation_id": "readProfile",
            "summary": "Read the own profile",
            "description": "What is stored about the person, and what interests them in words.",
            "responses": answer(200, serializers.ProfileSerializer, "The profile.", examples.PROFILE)
            | failures("invalid-request", *PERSONAL),
        },
        "patch": {
            "auth": IDENTIFIED,
            "operation_id": "changeChoices",
            "summary": "Change consent or personalisation",
            "description": "For the person, on every device that is tied to the same user.",
            "request": serializers.ChoicesSerializer,
            "responses": answer(200, serializers.ProfileSerializer, "The profile now.", examples.PROFILE)
            | failures(*WITH_BODY, *PERSONAL),
            "examples": [OpenApiExample("No personal lists", value={"profiling": False}, request_only=True)],
        },
        "delete": {
            "auth": IDENTIFIED,
            "operation_id": "erasePerson",
            "summary": "Erase everything about the person",
            "description": "Visitors, events and lists. The shop keeps its own orders. `Location` is the address of "
            "the receipt. Nothing is recorded of the person until they consent again.",
            "responses": {204: OpenApiResponse(description="Erased.")} | failures("forbidden", *PERSONAL),
        },
    },
    "recommender.api.erasures.ErasureView": {
        "get": {
            "operation_id": "readErasure",
            "summary": "Read the receipt of an erasure",
            "description": "By its random id, which DELETE me answers: nobody can be identified by then.",
            "responses": answer(200, erasures.ErasureReceiptSerializer, "How far it is, and what was deleted.")
            | failures("unknown-erasure", "unavailable"),
            "parameters": [OpenApiParameter("erasure_id", str, "path", description="From the answer of DELETE me.")],
            "auth": [],
        },
    },
    "recommender.api.visitor.ExportView": {
        "get": {
            "auth": IDENTIFIED,
            "operation_id": "exportPerson",
            "summary": "Export everything stored about the person",
            "description": "Visitors, events, lists, tokens and links, oldest first.",
            "responses": answer(200, token_shapes.WholeExportSerializer, "Everything.")
            | failures("invalid-request", *PERSONAL),
        },
    },
    "recommender.api.tokens.RefreshView": {
        "post": {
            "operation_id": "refreshToken",
            "summary": "Get the next tokens",
            "description": "A refresh token counts once; send it again only where the answer was lost, within an hour. "
            "One that is used later ends the tokens that followed from it.",
            "request": token_shapes.RefreshSerializer,
            "responses": answer(200, token_shapes.TokenPairSerializer, "The next pair.", examples.TOKEN_PAIR)
            | failures(*(kind for kind in (*WITH_BODY, "invalid-token", *ALWAYS) if kind != "forbidden")),
            "examples": [
                OpenApiExample(
                    "Refresh", value={"refresh_token": examples.TOKEN_PAIR["refresh_token"]}, request_only=True
                )
            ],
            "auth": [],
        },
    },
    "recommender.api.tokens.TokensView": {
        "get": {
            "auth": IDENTIFIED,
            "operation_id": "listTokens",
            "summary": "List the apps that are signed in",
            "description": "The tokens of the visitor, and of the user who is signed in.",
            "responses": answer(200, token_shapes.TokensSerializer, "The tokens that count.", examples.TOKENS)
            | failures("invalid-request", *PERSONAL),
        },
        "delete": {
            "auth": IDENTIFIED,
            "operation_id": "revokeTokens",
            "summary": "Sign out everywhere",
            "description": "Revokes all tokens that GET me/tokens lists.",
            "responses": {204: OpenApiResponse(description="Revoked.")} | failures("forbidden", *PERSONAL),
        },
    },
    "recommender.api.tokens.TokenView": {
        "delete": {
            "auth": IDENTIFIED,
            "operation_id": "revokeToken",
            "summary": "Sign one app out",
            "description": "By the id of a token, or `current` for the token of this call.",
            "parameters": [OpenApiParameter("token_id", str, "path", description="An id, or `current`.")],
            "responses": {204: OpenApiResponse(description="Revoked.")}
            | failures("forbidden", "unknown-token", *PERSONAL),
        },
    },
    "recommender.api.tokens.LinkView": {
        "post": {
            "auth": [{"visitorTokenBesideUser": [], "shopUser": []}, {"visitorTokenBesideUser": [], "shopSession": []}],
            "operation_id": "linkUser",
            "summary": "Tie the app's visitor to the signed-in user",
            "description": "The user is known by the shop's own authentication, such as its session or its JWT. Web "
            "and app are one profile from then on, and the token opens the account until the user signs out.",
            "request": None,
            "responses": answer(201, token_shapes.LinkSerializer, "The link.", examples.LINK)
            | failures("forbidden", "not-identified", "linked-to-another", *SCOPED),
        },
        "delete": {
            "auth": [{"visitorToken": []}],
            "operation_id": "unlinkUser",
            "summary": "Undo the link to the user",
            "description": "The visitor keeps what it did itself.",
            "responses": {204: OpenApiResponse(description="Undone.")} | failures("not-linked", *SCOPED),
        },
    },
}


def _describe(view: str, operations: dict[str, dict[str, Any]]) -> type[OpenApiViewExtension]:
    """Register the descriptions of one view's methods."""

    class Described(OpenApiViewExtension):  # type: ignore[no-untyped-call]
        target_class = view

        def view_replacement(self) -> Any:
            served: Any = self.target_class
            methods = {
                name: extend_schema(tags=[_tag(view)], **described)(_copied(getattr(served, name)))
                for name, described in operations.items()
            }
            return type(served.__name__, (served,), methods)

    return Described


def _copied(method: Any) -> Any:
    """A method of its own, so that the description does not stick to the view that serves."""

    def described(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, request, *args, **kwargs)

    return described


def _tag(view: str) -> str:
    return {"lists": "Lists", "recording": "Events", "visitor": "Visitor", "tokens": "Tokens", "erasures": "Visitor",
            "rules": "Rules"}[view.split(".")[2]]  # fmt: skip


for _view, _operations in (OPERATIONS | rule_operations(answer, failures)).items():
    _describe(_view, _operations)
