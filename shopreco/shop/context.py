"""What every page of the shop shows: the cart, the departments and whether to ask for consent."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from shopreco.shop.cart import Cart
from shopreco.shop.models import Department
from shopreco.shop.views.account import CONSENT_COOKIE


def shop(request: HttpRequest) -> dict[str, Any]:
    """The variables of every page. One query, for the departments, if a template lists them."""
    if not hasattr(request, "session"):
        return {}
    return {
        "cart": Cart(request),
        "departments": Department.objects.all(),
        "asks_for_consent": CONSENT_COOKIE not in request.COOKIES,
        "offers_sign_in": settings.DEMO_SIGN_IN,
    }
