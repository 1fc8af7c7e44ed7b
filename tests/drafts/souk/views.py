import json

from django import forms
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from souk.cart import Cart
from souk.models import Kala, Order, OrderItem, Post


class PutForm(forms.Form):
    quantity = forms.IntegerField(min_value=1, initial=1)


def kalas(request):
    items = Kala.objects.filter(available=True)
    if term := request.GET.get("q"):
        items = items.filter(name__icontains=term)
    return JsonResponse({"kalas": [kala.name for kala in items]})


def kala(request, id, slug):
    found = get_object_or_404(Kala, id=id, slug=slug, available=True)
    return HttpResponse(found.name)


def post(request, slug):
    return HttpResponse(get_object_or_404(Post, slug=slug).title)


@require_POST
def basket_add(request, kala_id):
    kala = get_object_or_404(Kala, id=kala_id)
    form = PutForm(request.POST)
    if form.is_valid():
        cd = form.cleaned_data
        Cart(request).add(kala=kala, quantity=cd["quantity"])
    return redirect("basket")


def basket_remove(request, kala_id):
    Cart(request).remove(get_object_or_404(Kala, id=kala_id))
    return redirect("basket")


def basket(request):
    return JsonResponse(Cart(request).lines)


@require_POST
def pay(request):
    order = Order.objects.create(full_name="x", phone="0912", email=request.POST.get("email", ""))
    for pk, quantity in Cart(request).lines.items():
        kala = Kala.objects.get(pk=pk)
        OrderItem.objects.create(order=order, kala=kala, price=kala.price, quantity=quantity)
    request.session["cart"] = {}
    return redirect(f"https://gateway.example/{order.pk}")


@csrf_exempt
def webhook(request):
    sent = json.loads(request.body)
    order = Order.objects.get(pk=sent["order"])
    if sent["status"] == "OK":
        order.is_paid, order.ref_id = True, sent["ref"]
    else:
        order.refunded_at = timezone.now()
    order.save()
    return HttpResponse("ok")
