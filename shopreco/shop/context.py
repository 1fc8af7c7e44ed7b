"""What every page of the shop shows: the cart, the departments and whether to ask for consent."""

from typing import Any

from django.http import HttpRequest


def shop(request: HttpRequest) -> dict[str, Any]:
    return {}
