from django.http import HttpResponse
from django.urls import include, path
from django.views.generic import DetailView, ListView

from till.counter.models import Product as CounterProduct
from till.web.models import Product


class Find(ListView):
    model = Product

    def get(self, request):
        return HttpResponse(request.GET.get("term", ""))


class Show(DetailView):
    queryset = Product.objects.filter(is_deleted=False)
    pk_url_kwarg = "product_pk"

    def render_to_response(self, context):
        return HttpResponse(context["object"].title)


class ShowCounter(DetailView):
    model = CounterProduct
    slug_field = "barcode"
    slug_url_kwarg = "code"

    def render_to_response(self, context):
        return HttpResponse(context["object"].name)


def buy(request):
    product = Product.objects.get(pk=request.GET["p"])
    request.session.setdefault("cart", []).append(product.pk)
    return HttpResponse("in the cart")


web = [
    path("find/", Find.as_view(), name="find"),
    path("p/<int:product_pk>/", Show.as_view(), name="product"),
    path("cart/buy/", buy, name="cart-buy"),
]
counter = [path("c/<str:code>/", ShowCounter.as_view(), name="product")]
urlpatterns = [
    path("", include((web, "web"))),
    path("", include((counter, "counter"))),
    path("recommender/", include("recommender.urls")),
]
