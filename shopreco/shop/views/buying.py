"""Pages that sell: the cart, the checkout and the page that says thank you."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from shopreco.shop.cart import Cart
from shopreco.shop.forms import CheckoutForm, QuantityForm
from shopreco.shop.models import Customer, Order, Product
from shopreco.shop.ordering import SoldOut, place_order

ORDERS_KEY = "orders"
MAX_ORDERS_REMEMBERED = 20


@require_safe
def cart(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/cart.html")


@require_POST
def cart_add(request: HttpRequest, stock_code: str) -> HttpResponse:
    """Put more of a product into the cart and show the cart."""
    product = get_object_or_404(Product, stock_code=stock_code, is_visible=True)
    form = QuantityForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Please give a quantity between 1 and 999."))
        return redirect(product)
    basket = Cart(request)
    wanted = basket.quantities.get(stock_code, 0) + max(form.cleaned_data["quantity"], 1)
    quantity = basket.put(product, wanted)
    if not quantity:
        messages.error(request, gettext("%s is sold out.") % product.localised_title)
        return redirect(product)
    _confirm_quantity(request, product, wanted, quantity)
    return redirect("shop:cart")


@require_POST
def cart_update(request: HttpRequest, stock_code: str) -> HttpResponse:
    """Set the quantity of a product in the cart; 0 takes it out."""
    product = get_object_or_404(Product, stock_code=stock_code)
    form = QuantityForm(request.POST)
    if form.is_valid():
        quantity = Cart(request).put(product, form.cleaned_data["quantity"])
        _confirm_quantity(request, product, form.cleaned_data["quantity"], quantity)
    else:
        messages.error(request, gettext("Please give a quantity between 0 and 999."))
    return redirect("shop:cart")


@require_POST
def cart_remove(request: HttpRequest, stock_code: str) -> HttpResponse:
    """Take a product out of the cart."""
    product = get_object_or_404(Product, stock_code=stock_code)
    Cart(request).put(product, 0)
    messages.success(request, gettext("%s was removed.") % product.localised_title)
    return redirect("shop:cart")


@require_http_methods(["GET", "HEAD", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """Ask for a name and an address, then write the order. Nothing is paid in this shop."""
    basket = Cart(request)
    if not basket.lines:
        return redirect("shop:cart")
    form = CheckoutForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            order = place_order(basket.lines, customer=_customer_of(request), **form.cleaned_data)
        except SoldOut as error:
            messages.error(request, str(error))
            return redirect("shop:cart")
        basket.empty()
        _remember(request, order)
        return redirect("shop:thanks", order.number)
    return render(request, "shop/checkout.html", {"form": form})


@require_safe
def thanks(request: HttpRequest, number: str) -> HttpResponse:
    """Show an order to the browser that placed it, and to nobody else."""
    mine = number if number in request.session.get(ORDERS_KEY, []) else None
    order = get_object_or_404(Order.objects.prefetch_related("lines__product"), number=mine)
    return render(request, "shop/thanks.html", {"order": order})


def _confirm_quantity(request: HttpRequest, product: Product, wanted: int, quantity: int) -> None:
    if 0 < quantity < wanted:
        text = gettext("Only %(n)d of %(title)s are in stock; your cart holds all of them.")
        messages.warning(request, text % {"n": quantity, "title": product.localised_title})
    elif quantity:
        messages.success(request, gettext("%s is in your cart.") % product.localised_title)
    else:
        messages.success(request, gettext("%s was removed.") % product.localised_title)


def _customer_of(request: HttpRequest) -> Customer | None:
    if not request.user.is_authenticated:
        return None
    return Customer.objects.filter(user_id=request.user.pk).first()


def _remember(request: HttpRequest, order: Order) -> None:
    request.session[ORDERS_KEY] = [order.number, *request.session.get(ORDERS_KEY, [])][:MAX_ORDERS_REMEMBERED]
