"""Fill the shop: standalone products, parents with children, one that is not public, and a tree of categories."""

from decimal import Decimal

from oscar.apps.catalogue.categories import create_from_breadcrumbs
from oscar.core.loading import get_model

NOVELS = ("Emma", "Middlemarch", "Ulysses", "Dracula", "Frankenstein", "Walden")
POTS = ("Teapot", "Coffee pot", "Stock pot", "Flower pot")


def fill():
    """Twelve public items, of which two are parents of three children each; and one hidden product."""
    country = get_model("address", "Country")
    country.objects.get_or_create(
        iso_3166_1_a2="GB", defaults={"printable_name": "United Kingdom", "name": "UK", "is_shipping_country": True}
    )
    books, goods = product_class("Book"), product_class("Ware")
    brand = get_model("catalogue", "ProductAttribute").objects.create(
        product_class=goods, name="Maker", code="maker", type="text"
    )
    classics = create_from_breadcrumbs("Books > Fiction > Classics")
    kitchen = create_from_breadcrumbs("Home > Kitchen")
    for n, title in enumerate(NOVELS):
        product(title, books, classics, price=5 + n, upc=f"novel-{n}")
    for n, title in enumerate(POTS):
        pot = product(title, goods, kitchen, price=20 + n, upc=f"pot-{n}")
        brand.save_value(pot, "Wedgwood")
    for title in ("Apron", "Oven glove"):
        parent = product(title, goods, kitchen, structure="parent", upc=title.lower().replace(" ", "-"))
        for n, colour in enumerate(("red", "blue", "green")):
            product(f"{title}, {colour}", None, None, structure="child", parent=parent, price=10 + n)
    product("Secret lamp", goods, kitchen, price=99, upc="secret", is_public=False)


def product_class(name):
    return get_model("catalogue", "ProductClass").objects.create(name=name, track_stock=True)


def product(title, kind, category, *, price=None, structure="standalone", **values):
    """A product with a hundred in stock, where it has a price."""
    new_product = get_model("catalogue", "Product").objects.create(
        title=title, product_class=kind, structure=structure, description=f"<p>{title} for the home</p>", **values
    )
    if category is not None:
        get_model("catalogue", "ProductCategory").objects.create(product=new_product, category=category)
    if price is not None:
        partner, _ = get_model("partner", "Partner").objects.get_or_create(name="Warehouse")
        get_model("partner", "StockRecord").objects.create(
            product=new_product,
            partner=partner,
            partner_sku=f"sku-{new_product.pk}",
            price=Decimal(price),
            num_in_stock=1000,
        )
    return new_product
