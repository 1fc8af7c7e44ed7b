"""Pages that show products: home, department, product and search."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from recommender.text.query import normal_query
from shopreco.shop.cart import Cart
from shopreco.shop.models import Department, Product

PAGE_SIZE = 24
SORTS = {
    "popular": (_("Most popular"), ("-n_sold", "title")),
    "new": (_("Newest"), ("-first_seen", "title")),
    "price": (_("Price, low to high"), ("price", "title")),
    "-price": (_("Price, high to low"), ("-price", "title")),
    "name": (_("Name"), ("title", "pk")),
}


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/home.html")


@require_safe
def department(request: HttpRequest, slug: str = "") -> HttpResponse:
    """One department, or everything. Three queries beside the base template's."""
    current = get_object_or_404(Department, slug=slug) if slug else None
    products = Product.objects.filter(is_visible=True)
    if current is not None:
        products = products.filter(department=current)
    sort = request.GET.get("sort", "")
    sort = sort if sort in SORTS else "popular"
    page = Paginator(products.order_by(*SORTS[sort][1]), PAGE_SIZE).get_page(request.GET.get("page"))
    sorts = [(key, label) for key, (label, _order) in SORTS.items()]
    return render(request, "shop/department.html", {"department": current, "page": page, "sort": sort, "sorts": sorts})


@require_safe
def product(request: HttpRequest, stock_code: str) -> HttpResponse:
    visible = Product.objects.filter(is_visible=True).select_related("department")
    shown_product = get_object_or_404(visible, stock_code=stock_code)
    in_cart = Cart(request).quantities.get(stock_code)
    return render(request, "shop/product.html", {"product": shown_product, "in_cart": in_cart})


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Search; the recommender's tag in the template finds the page's results."""
    query = normal_query(request.GET.get("q", ""))
    number = _page_number(request)
    parameters = [
        (name, value) for name, values in request.GET.lists() if name not in ("sort", "page") for value in values
    ]
    pages = {"number": number, "page_size": PAGE_SIZE, "n_until_here": number * PAGE_SIZE}
    return render(request, "shop/search.html", {"query": query, "parameters": parameters, **pages})


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 and int(text) > 0 else 1
