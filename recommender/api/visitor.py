"""The endpoints for a person's own data: profile, choices, export and erasure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from recommender import conf, identity, personas, serving
from recommender.api import throttling
from recommender.api.authentication import HOW_TO_IDENTIFY
from recommender.api.base import ApiView, checked
from recommender.api.problems import Problem
from recommender.api.serializers import (
    ChoicesSerializer,
    ProfileSerializer,
)
from recommender.api.token_shapes import WholeExportSerializer
from recommender.capture import erasure, privacy
from recommender.identity import Shopper, shopper_of
from recommender.models import AppToken, Erasure, Event, Visitor, VisitorLink

ENDPOINTS = (
    "visitors", "tokens/refresh", "events", "search", "suggest", "recommendations/<slot>", "me", "me/export",
    "me/tokens", "me/tokens/<token_id>", "me/link", "rules",
    "rules/<rule_id>", "rules/<rule_id>/<step>",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Whose data it is: the visitor of the token or cookie, and the user who is signed in; at least one of them."""

    visitor_key: uuid.UUID | None
    user_key: str | None

    @property
    def names(self) -> dict[str, Any]:
        """The arguments by which `privacy` finds a person."""
        return {"visitor_key": self.visitor_key, "user_key": self.user_key}


class MeView(ApiView):
    """The own profile."""

    def get(self, request: Request) -> Response:
        """What is known of the person and what it means in words. At most four queries."""
        shopper = shopper_of(request._request)
        return Response(_profile(shopper, person_of(shopper)))

    def patch(self, request: Request) -> Response:
        """Change consent or profiling for the person, on all devices that are tied to the same user."""
        shopper = shopper_of(request._request)
        person = person_of(shopper)
        choices = checked(ChoicesSerializer, request.data)
        _choose(person, choices)
        response = Response(_profile(shopper, person))
        if "consent" in choices and _asks_by_cookie(shopper):
            identity.set_consent_cookie(response, is_granted=choices["consent"])
        return response

    def delete(self, request: Request) -> Response:
        """Erase everything about the person; `Location` is where the receipt is."""
        shopper = shopper_of(request._request)
        erased = erasure.erase(**person_of(shopper).names, trigger=Erasure.Trigger.API)
        receipt = reverse("recommender:erasure", args=[erased.key])
        response = Response(status=204, headers={"Location": request.build_absolute_uri(receipt)})
        if shopper.token is None:
            identity.delete_cookie(response)
        if _asks_by_cookie(shopper):
            identity.delete_consent_cookie(response)
        return response


class ExportView(ApiView):
    """Everything stored about the person."""

    throttle_classes = (*throttling.ORDINARY, throttling.BulkThrottle)

    def get(self, request: Request) -> Response:
        """Visitors, events, lists, tokens and links, oldest first. Seven queries."""
        person = person_of(shopper_of(request._request))
        keys = privacy.visitors_of(**person.names).values("key")
        apps = {
            "tokens": AppToken.objects.filter(visitor__key__in=keys).order_by("created_at"),
            "links": VisitorLink.objects.filter(visitor__key__in=keys).order_by("linked_at"),
        }
        return Response(WholeExportSerializer(privacy.export(**person.names) | apps).data)


class UnknownEndpointView(ApiView):
    """Whatever else is asked for below the API."""

    schema = None
    scope = ""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse every method."""
        endpoint = request.path.rpartition("/api/v1/")[2].strip("/")
        nearest = conf.closest(endpoint, ENDPOINTS)
        raise Problem("unknown-endpoint", f"{nearest} There are: {', '.join(ENDPOINTS)}; none ends in a slash.".strip())


def person_of(shopper: Shopper) -> Person:
    """Who asks about themselves; also a browser that has taken its consent back. Raises `Problem` for nobody.

    The visitor of a browser is passed over where it is tied to a user who is not signed in here: the cookie alone opens
    nobody's account. One query for a browser.
    """
    if shopper.token is not None:
        if not shopper.may_open_account:
            raise Problem("not-signed-in", "The app's visitor belongs to a user: sign them in with POST me/link.")
        return Person(identity.visitor_key_from(shopper.token), None)
    key, user_key = shopper.cookie_key, shopper.user_key
    tied_to = Visitor.objects.filter(key=key).values_list("user_key", flat=True).first() if key else None
    if tied_to and tied_to != user_key:
        key = None
    if key is None and user_key is None:
        raise Problem("not-identified", f"Sign in, or allow the visitor's cookie first. {HOW_TO_IDENTIFY}")
    return Person(key, user_key)


def _choose(person: Person, choices: dict[str, Any]) -> None:
    """Store the choices; someone who has no row yet gets one, so that a refusal is remembered."""
    if not privacy.visitors_of(**person.names).exists():
        if person.visitor_key is not None:
            Visitor.objects.get_or_create(key=person.visitor_key, defaults={"has_consented": False})
        else:
            identity.visitor_of_user(person.user_key or "")
    if "consent" in choices:
        privacy.set_consent(choices["consent"], **person.names)
    if "profiling" in choices:
        privacy.set_profiling(choices["profiling"], **person.names)


def _asks_by_cookie(shopper: Shopper) -> bool:
    """Does this app's own cookie hold the consent of this browser?"""
    return shopper.token is None and identity.is_by_cookie()


def _profile(shopper: Shopper, person: Person) -> dict[str, Any]:
    rows = list(privacy.visitors_of(**person.names))
    own = next((row for row in rows if row.key == person.visitor_key), rows[0] if rows else None)
    counts = Event.objects.filter(visitor__in=rows).values_list("type").annotate(Count("pk")).order_by("type")
    description = personas.describe(shopper.history(), serving.current().shelf, now=timezone.now())
    profile = {
        "visitor_id": person.visitor_key,
        "user": own.user_key if own else person.user_key,
        "consent": own.has_consented if own else shopper.has_consented,
        "profiling": (own is None or own.is_profiled) and shopper.is_profiled,
        "counts": dict(counts),
        "headline": description.headline,
        "interests": description.interests,
    }
    return dict(ProfileSerializer(profile).data)
