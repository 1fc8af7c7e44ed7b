"""What the tests sell: mugs first, so that what is newest is something else."""

from shop.models import Book, Category, Product, Voucher

MUGS = ("Red mug", "Blue mug", "Green mug", "Coffee mug with a lid", "Enamel mug for camping", "Tall mug for latte")
OTHERS = (
    "Garden shears",
    "Leaf rake",
    "Watering can",
    "Wool scarf",
    "Knitted hat",
    "Rain boots",
    "Desk lamp",
    "Oak table",
)


def fill():
    kitchen, others = Category.objects.create(name="Mugs"), Category.objects.create(name="House and garden")
    for n, name in enumerate((*MUGS, *OTHERS)):
        category = kitchen if name in MUGS else others
        slug = name.lower().replace(" ", "-")
        Product.objects.create(name=name, slug=slug, sku=f"S-{n}", price=5 + n, category=category)
    for n in range(3):
        Book.objects.create(title=f"Novel number {n}")
    Voucher.objects.create(name="Gift card")
