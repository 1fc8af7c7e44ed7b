from django.shortcuts import redirect, render
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from goods.models import Article, Book


def put(request, kind, pk, pieces):
    cart = request.session.setdefault("cart", [])
    cart.append([kind, str(pk), pieces])
    request.session.modified = True


def add(request):
    """By GET, as many old shops do."""
    put(request, "article", Article.objects.get(slug=request.GET["article"]).pk, 1)
    return redirect("home")


def show(request):
    kinds = {"article": Article, "book": Book}
    lines = [
        {"thing": kinds[kind].objects.get(pk=pk), "pieces": pieces}
        for kind, pk, pieces in request.session.get("cart", ())
    ]
    return render(request, "goods/cart.html", {"lines": lines})


class CartView(APIView):
    def post(self, request):
        line = request.data["line"]
        put(request._request, "book", Book.objects.get(pk=line["book"]).pk, line["n"])
        return Response({"n": len(request.session["cart"])}, status=201)


def refuse(error, context):
    return exception_handler(error, context)
