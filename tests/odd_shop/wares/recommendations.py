from recommender.catalog import Catalog, Constant, register
from recommender.tracking import OrderRows, track_rows


@register("wares.Good")
class Goods(Catalog):
    text = ("title", "section.name", "detail.blurb")
    category, price, image, updated, languages = "section", "cost", "picture", "changed", ("de", "en")


@register("wares.Book")
class Books(Goods):
    text = ("title", "author")


register("wares.Ticket")(Catalog)
register("wares.CheapTicket")(Catalog)
register("wares.Stock")(Catalog)


@track_rows("wares.Line")
class Lines(OrderRows):
    item_id, order_id, quantity, price, currency = "good", "order.number", "n", "each", Constant("eur ")
    occurred_at, email, returned = "order.placed_at", "order.mail", "n_returned"

    def paid(self, line):
        return line.order.is_paid


@track_rows("wares.Booking")
class Bookings(OrderRows):
    item_id, order_id, occurred_at, email = "ticket", "number", "booked_at", "mail"
