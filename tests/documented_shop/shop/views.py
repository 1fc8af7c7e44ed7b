import json

from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from shop.models import Order, OrderLine, Product


def home(request):
    return render(request, "shop/home.html")


def search(request):
    return render(request, "shop/search.html")


def product(request, slug):
    return render(request, "shop/product.html", {"product": get_object_or_404(Product, slug=slug, is_active=True)})


def news(request, slug):
    return render(request, "shop/news.html", {"product": get_object_or_404(Product, slug=slug)})


def about(request):
    return render(request, "about.jinja", using="jinja2")


def put(request, pk, pieces):
    lines = request.session.setdefault("cart", {})
    lines[str(pk)] = lines.get(str(pk), 0) + int(pieces)
    request.session.modified = True


def cart(request):
    return render(request, "shop/cart.html", {"cart": request.session.get("cart", {})})


def cart_add(request):
    put(request, get_object_or_404(Product, slug=request.GET["p"]).pk, 1)
    return redirect("shop:cart")


def cart_form(request):
    put(request, request.POST["id"], request.POST["n"])
    return redirect("shop:cart")


@csrf_exempt
def cart_api(request):
    line = json.loads(request.body)["line"]
    put(request, get_object_or_404(Product, sku=line["sku"]).pk, line["n"])
    return JsonResponse({"n": len(request.session["cart"])}, status=201)


def order(request):
    """Unpaid until the payment provider calls."""
    visitor = request.COOKIES.get("recommender_visitor", "")
    customer = request.user if request.user.is_authenticated else None
    placed = Order.objects.create(number=f"N{Order.objects.count()}", customer=customer, visitor=visitor)
    for pk, pieces in request.session.pop("cart").items():
        bought = Product.objects.get(pk=pk)
        OrderLine.objects.create(order=placed, product=bought, quantity=pieces, price=bought.price)
    return HttpResponse(placed.number)


@csrf_exempt
def paid(request):
    placed = Order.objects.get(number=request.POST["order"])
    placed.paid_at, placed.status = timezone.now(), "paid"
    placed.save()
    return HttpResponse("ok")
