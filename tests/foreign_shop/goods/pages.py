from decimal import Decimal

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import cache_control, cache_page
from django.views.generic import DetailView

from goods.models import Article, Book, Voucher

TAXES = {"de": Decimal("1.19"), "ch": Decimal("1.081")}


def price_for(article, request):
    """The price that only a request knows."""
    return (article.net * TAXES.get(request.COOKIES.get("country", "de"), 1)).quantize(Decimal("0.01"))


def home(request):
    return render(request, "goods/home.html")


@transaction.non_atomic_requests
async def find(request):
    return await sync_to_async(render)(request, "goods/find.html", {"words": request.GET.get("words", "")})


def article(request, slug):
    shown_article = get_object_or_404(Article, slug=slug, deleted_at=None, is_published=True)
    return render(request, "goods/article.html", {"article": shown_article, "price": price_for(shown_article, request)})


class BookPage(DetailView):
    queryset = Book.objects.filter(is_deleted=False)
    template_name = "goods/book.html"


def voucher(request, pk):
    return render(request, "goods/voucher.html", {"voucher": get_object_or_404(Voucher, pk=pk)})


def about(request):
    return render(request, "about.html")


@cache_control(public=True, max_age=600)
@cache_page(600)
def news(request, slug):
    """A page that a CDN keeps: the same for everybody."""
    shown_article = Article.objects.filter(slug=slug).first()
    if shown_article is None:
        raise Http404
    return render(request, "goods/news.html", {"article": shown_article})
