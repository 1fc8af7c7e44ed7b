"""How the shop tells the recommender what its items are and what shoppers do with them."""

from decimal import Decimal

from recommender.catalog import Catalog, Constant, register
from recommender.tracking import OrderRows, page, track_pages, track_rows
from shopreco.shop.margins import invented_margin
from shopreco.shop.models import Product

track_pages(
    page("shop:product", "view_item", item_id="kwargs.stock_code"),
    page("shop:search", "search", query="GET.q"),
    page("shop:cart_add", "add_to_cart", item_id="kwargs.stock_code", quantity="POST.quantity", method="POST"),
    page("shop:cart_remove", "remove_from_cart", item_id="kwargs.stock_code", method="POST"),
)


@register("shop.Product")
class Products(Catalog):
    id = "stock_code"
    languages = ("en-gb", "zh-hans")
    title = "localised_title"
    text = "localised_title"
    category = "department.name"
    price = "price"
    currency = Constant("GBP")
    url = "get_absolute_url"
    active = "is_visible"
    first_seen = "first_seen"
    updated = "updated_at"

    def available(self, product: Product) -> bool:
        return product.stock > 0

    def margin(self, product: Product) -> Decimal:
        """Invented: a shop would return what it charges less what it pays."""
        return invented_margin(product.stock_code, product.price)


@track_rows("shop.OrderLine")
class Purchases(OrderRows):
    item_id = "product.stock_code"
    order_id = "order.number"
    user = "order.customer.user_id"
    occurred_at = "order.placed_at"
    quantity = "quantity"
    price = "unit_price"
    currency = Constant("GBP")
    refunded = "order.is_cancellation"
