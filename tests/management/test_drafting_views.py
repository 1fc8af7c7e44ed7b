"""The source of a view shows which part of a request names which object, in whatever style it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django import forms
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST
from django.views.generic import DetailView, View
from rest_framework import serializers
from rest_framework.decorators import api_view

from recommender.management.drafting import pages, reading, views, words
from recommender.tracking.routes import Route
from shopreco.shop.models import Department, Product

ITEMS: dict[Any, list[Any]] = {Product: []}


class PutForm(forms.Form):
    pieces = forms.IntegerField()
    product = forms.ModelChoiceField(Product.objects.all(), to_field_name="stock_code")


class PutSerializer(serializers.Serializer):
    sku = serializers.SlugRelatedField("stock_code", queryset=Product.objects.all())


class Cart:
    def __init__(self, request: Any) -> None:
        self.session = request.session

    def put(self, product: Any, quantity: int) -> None:
        self.session["cart"] = {product.pk: quantity}


def one_shown(request: Any, code: str) -> Any:
    return get_object_or_404(Product, stock_code=code, is_visible=True)


def first_shown(request: Any, code: str) -> Any:
    return Product.objects.filter(stock_code=code).first()


def of_department(request: Any, slug: str) -> Any:
    return Product.objects.filter(department=Department.objects.get(slug=slug)), Product.objects.filter(department=slug)


def of_nobody(request: Any, slug: str) -> Any:
    return Department.objects.get(slug=slug)


@require_POST
def put_by_form(request: Any) -> Any:
    form = PutForm(request.POST)
    if form.is_valid():
        cd = form.cleaned_data
        Cart(request).put(cd["product"], cd["pieces"])
    return form


def put_by_json(request: Any) -> Any:
    line = json.loads(request.body)["line"]
    Cart(request).put(Product.objects.get(pk=line["id"]), line["n"])


@api_view(["POST"])
def put_by_api(request: Any) -> Any:
    serializer = PutSerializer(data=request.data)
    return serializer.validated_data["sku"]


class Shown(DetailView):
    model = Product
    slug_field = "stock_code"
    slug_url_kwarg = "code"


class ShownByHand(View):
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.fetch()

    def fetch(self) -> Any:
        return Product.objects.get(stock_code=self.kwargs["code"])


def view_of(callback: Any, *parts: str, name: str = "page") -> views.View:
    return views._view(name, Route("there/", dict.fromkeys(parts), callback), callback, {})


@pytest.mark.parametrize(
    ("callback", "part"),
    [(one_shown, "code"), (first_shown, "code"), (Shown.as_view(), "code"), (ShownByHand.as_view(), "code")],
    ids=["function", "filter of a key", "DetailView", "View"],
)
def test_page_of_one_item_is_a_view_of_it(callback: Callable[..., Any], part: str) -> None:
    (line,) = pages.page_lines([view_of(callback, part)], ITEMS)
    assert line.code == 'page("page", "view_item", item_id=("shop.Product", "kwargs.code", "stock_code")),'


@pytest.mark.parametrize("callback", [of_department, of_nobody])
def test_page_of_many_items_or_of_none_is_no_view(callback: Callable[..., Any]) -> None:
    assert pages.page_lines([view_of(callback, "slug")], ITEMS) == []


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (put_by_form, 'item_id=("shop.Product", "POST.product", "stock_code"), quantity="POST.pieces", method="POST"'),
        (put_by_json, 'item_id=("shop.Product", "JSON.line.id"), quantity="JSON.line.n", method="POST"'),
        (put_by_api, 'item_id=("shop.Product", "JSON.sku", "stock_code"), method="POST"'),
    ],
    ids=["form", "JSON", "REST framework"],
)
def test_what_fills_a_cart_is_read_from_form_and_json(callback: Callable[..., Any], expected: str) -> None:
    (line,) = pages.page_lines([view_of(callback, name="cart-add")], ITEMS)
    assert line.code == f'page("cart-add", "add_to_cart", {expected}),'
    assert pages.page_lines([view_of(callback, name="cart-update")], ITEMS) == []


def test_flags_by_which_a_page_chooses_are_known() -> None:
    assert reading.read_function(one_shown).fixed == [(Product, "is_visible", True)]
    listed = SimpleNamespace(queryset=Product.objects.filter(is_visible=True))
    assert reading.fixed_of(listed.queryset) == [(Product, "is_visible", True)]


@pytest.mark.parametrize(
    ("likelier", "other"),
    [
        ("price", "old_price"),
        ("selling_price", "cost_price"),
        ("unit_price_incl_tax", "unit_price_excl_tax"),
        ("price", "price_before_discount"),
    ],
)
def test_price_is_what_a_shopper_pays_now(likelier: str, other: str) -> None:
    assert words.fit(likelier, words.PRICE, words.NOT_THE_PRICE) > words.fit(other, words.PRICE, words.NOT_THE_PRICE)
