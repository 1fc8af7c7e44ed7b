from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from wares.models import Good, Line, Order


@csrf_exempt
def order(request):
    """A guest orders; the money comes later."""
    placed = Order.objects.create(number=request.POST["number"], mail=request.POST.get("mail", ""))
    line = Line(order=placed, good=Good.objects.get(pk=request.POST["good"]), n=request.POST.get("n", 1))
    if "bulk" in request.POST:
        Line.objects.bulk_create([line])
    else:
        line.save()
    return HttpResponse("ordered")


@csrf_exempt
def hook(request, number, status):
    """The gateway tells that an order is paid or has failed; its request has no shopper."""
    placed = Order.objects.get(number=number)
    placed.status = status
    placed.changed_at = timezone.now()
    placed.save()
    return HttpResponse("ok")
