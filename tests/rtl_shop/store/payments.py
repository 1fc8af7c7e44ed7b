"""The gateway: the browser goes there with an authority, and later the gateway calls us, without any cookie."""

from django.http import HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from store.models import Order

GATEWAY = "https://gateway.example/start/"


def start_url(order):
    return f"{GATEWAY}{order.authority}"


@csrf_exempt
@require_POST
def webhook(request):
    result = request.POST.get("result")
    if result not in ("OK", "NOK"):
        return HttpResponseBadRequest("result?")
    order = get_object_or_404(Order, authority=request.POST.get("authority", ""))
    if order.status == Order.Status.PENDING:
        order.status = Order.Status.PAID if result == "OK" else Order.Status.FAILED
        order.save(update_fields=["status"])
    return HttpResponse("received")
