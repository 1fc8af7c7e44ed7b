"""How the shop tells the recommender what its items are and what shoppers do with them."""

from recommender.catalog import Catalog, Constant, register
from shopreco.shop.models import Product


@register("shop.Product")
class Products(Catalog):
    id = "stock_code"
    title = "title"
    text = "title"
    category = "department.name"
    price = "price"
    currency = Constant("GBP")
    url = "get_absolute_url"
    active = "is_visible"
    first_seen = "first_seen"
    updated = "updated_at"

    def available(self, product: Product) -> bool:
        return product.stock > 0
