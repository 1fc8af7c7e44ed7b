"""Pages about the shopper: signing in as a real customer of the data, consent and privacy."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from shopreco.shop.models import Customer, OrderLine

CONSENT_COOKIE = "recommender_consent"
CONSENT_AGE_SECONDS = 180 * 24 * 3600
CUSTOMERS_PER_PAGE = 12
DEPARTMENTS_SHOWN = 3
BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Choose a customer; POST signs in as them. Only where `DEMO_SIGN_IN` is on."""
    if not settings.DEMO_SIGN_IN:
        raise Http404
    if request.method == "POST":
        return _sign_in_as(request, get_object_or_404(Customer, code=request.POST.get("code", "")[:20]))
    query = request.GET.get("q", "").strip()[:60]
    page = Paginator(_customers(query), CUSTOMERS_PER_PAGE).get_page(request.GET.get("page"))
    tastes = _departments_of([customer.pk for customer in page])
    choices = [(customer, tastes[customer.pk]) for customer in page]
    return render(request, "shop/sign_in.html", {"page": page, "choices": choices, "query": query})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    messages.success(request, gettext("You are signed out."))
    return redirect("shop:home")


@require_POST
def consent(request: HttpRequest) -> HttpResponse:
    """Remember the shopper's answer for half a year and go back to the page that asked."""
    answer = "granted" if request.POST.get("answer") == "granted" else "denied"
    response = redirect(_page_to_return_to(request))
    _set_consent(response, answer)
    return response


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/privacy.html", {"answer": request.COOKIES.get(CONSENT_COOKIE, "")})


def _customers(query: str) -> Any:
    """Customers by number of orders, the most first; the query matches the number or the country."""
    placed = Count("orders", filter=Q(orders__is_cancellation=False))
    customers = Customer.objects.annotate(n_orders=placed).filter(n_orders__gt=0).order_by("-n_orders", "code")
    matching = Q(code__icontains=query) | Q(country__icontains=query)
    return customers.filter(matching) if query else customers


def _departments_of(customer_ids: list[int]) -> dict[int, list[str]]:
    """What each customer orders most often: names of departments, the most lines first. One query."""
    lines = OrderLine.objects.filter(order__customer__in=customer_ids, product__department__isnull=False)
    counted = lines.values_list("order__customer", "product__department__name").annotate(n=Count("pk")).order_by("-n")
    names: defaultdict[int, list[str]] = defaultdict(list)
    for customer_id, name, _ in counted:
        if len(names[customer_id]) < DEPARTMENTS_SHOWN:
            names[customer_id].append(name)
    return names


def _sign_in_as(request: HttpRequest, customer: Customer) -> HttpResponse:
    login(request, customer.user, backend=BACKEND)
    messages.success(request, gettext("You are signed in as customer %s.") % customer.code)
    response = redirect("shop:home")
    _set_consent(response, "granted")  # the loader has granted it for the customers of the data
    return response


def _set_consent(response: HttpResponse, answer: str) -> None:
    response.set_cookie(CONSENT_COOKIE, answer, max_age=CONSENT_AGE_SECONDS, samesite="Lax", secure=not settings.DEBUG)


def _page_to_return_to(request: HttpRequest) -> str:
    page = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(page, allowed_hosts={request.get_host()})
    return page if is_ours else "shop:home"
