from recommender.catalog import Catalog, Constant, register
from recommender.tracking import OrderRows, page, track_pages, track_rows


@register("goods.Article")
class Articles(Catalog):
    category, price, currency, group, sites = "sections", "net", Constant("EUR"), "parent", "sites"
    languages = ("de", "en")


register("goods.Book")(type("Books", (Catalog,), {"group": "work"}))
register("goods.Voucher")(Catalog)
track_pages(
    page("article", "view_item", item_id=("goods.Article", "kwargs.slug")),
    page("book", "view_item", item_id=("goods.Book", "kwargs.pk")),
    page("news", "view_item", item_id=("goods.Article", "kwargs.slug"), beacon=True),
    page("find", "search", query="GET.words"),
    page("cart_add", "add_to_cart", item_id=("goods.Article", "GET.article", "slug")),
    page("cart_api", "add_to_cart", item_id=("goods.Book", "JSON.line.book"), quantity="JSON.line.n", method="POST"),
)


@track_rows("goods.PurchaseLine")
class Lines(OrderRows):
    item_id, order_id, quantity, price, visitor = "thing", "purchase_id", "pieces", "each", "purchase.reader"
    user, occurred_at, paid, returned = "purchase.customer", "purchase.placed", "purchase.paid", "purchase.sent_back"
