import secrets

from django import forms
from django.db import transaction
from django.db.models import Q
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST
from django.views.generic import DetailView

from store.cart import Cart
from store.models import Category, Order, OrderLine, Product
from store.payments import start_url

CHOICE_COOKIE = "cookie_choice"


def on_sale():
    return Product.objects.filter(published=True).prefetch_related("translations")


def home(request):
    categories = Category.objects.prefetch_related("translations")
    return render(request, "store/home.html", {"categories": categories, "newest": on_sale().order_by("-pk")[:8]})


@require_POST
def cookies(request):
    """The banner's answer: `all` or `needed`."""
    answer = redirect("store:home")
    if request.POST.get("choice") in ("all", "needed"):
        answer.set_cookie(CHOICE_COOKIE, request.POST["choice"], max_age=180 * 24 * 3600, samesite="Lax")
    return answer


def search(request):
    words = request.GET.get("s", "").strip()
    hits = on_sale().none()
    if words:
        has_words = Q(translations__title__icontains=words) | Q(translations__description__icontains=words)
        hits = on_sale().filter(has_words).distinct()
    return render(request, "store/search.html", {"words": words, "hits": hits[:24]})


class CategoryView(DetailView):
    model = Category
    template_name = "store/category.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(products=on_sale().filter(category=self.object), **kwargs)


class ProductView(DetailView):
    template_name = "store/product.html"

    def get_queryset(self):
        return on_sale()


def cart(request):
    return render(request, "store/cart.html")


@require_POST
def cart_add(request, slug):
    product = get_object_or_404(Product, slug=slug, published=True)
    try:
        quantity = max(int(request.POST.get("quantity", 1)), 1)
    except ValueError:
        quantity = 1
    Cart(request).add(product, quantity)
    back = request.POST.get("next", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, None) else "store:cart")


@require_POST
def cart_remove(request, pk):
    Cart(request).remove(pk)
    return redirect("store:cart")


class CheckoutForm(forms.ModelForm):
    class Meta:
        model = Order
        fields = ["email", "full_name", "address"]


def checkout(request):
    cart = Cart(request)
    if not len(cart):
        return redirect("store:cart")
    form = CheckoutForm(request.POST or None)
    if not form.is_valid():
        return render(request, "store/checkout.html", {"form": form})
    with transaction.atomic():
        order = form.save(commit=False)
        order.number, order.created_at = f"B{secrets.randbelow(10**12):012}", timezone.now()
        order.save()
        OrderLine.objects.bulk_create(
            OrderLine(order=order, product=line["product"], quantity=line["quantity"], unit_price=line["product"].price)
            for line in cart
        )
    cart.clear()
    return redirect(start_url(order))


def thanks(request, number):
    return render(request, "store/thanks.html", {"order": get_object_or_404(Order, number=number)})
