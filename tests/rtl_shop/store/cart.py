from decimal import Decimal

from store.models import Product


class Cart:
    """`{"12": 2}` in the session: pieces by primary key."""

    def __init__(self, request):
        self.session = request.session
        self.pieces = self.session.get("cart", {})

    def add(self, product, quantity=1):
        self.pieces[str(product.pk)] = self.pieces.get(str(product.pk), 0) + quantity
        self.save()

    def remove(self, pk):
        self.pieces.pop(str(pk), None)
        self.save()

    def clear(self):
        self.pieces = {}
        self.save()

    def save(self):
        self.session["cart"] = self.pieces

    def __len__(self):
        return sum(self.pieces.values())

    def __iter__(self):
        products = Product.objects.filter(pk__in=self.pieces).prefetch_related("translations")
        for product in products:
            quantity = self.pieces[str(product.pk)]
            yield {"product": product, "quantity": quantity, "sum": product.price * quantity}

    @property
    def total(self):
        return sum((line["sum"] for line in self), Decimal(0))


def in_templates(request):
    return {"cart": Cart(request)} if hasattr(request, "session") else {}
