"""The declarations for an Oscar shop, loaded at start-up; the shop's own declarations take precedence."""

from recommender.catalog import catalog_for_label, register
from recommender.contrib.oscar.catalog import Products
from recommender.contrib.oscar.orders import Purchases, Refunds
from recommender.tracking import track_rows, tracked_rows

if catalog_for_label("catalogue.Product") is None:
    register("catalogue.Product")(Products)

_declared = {(rows.label.lower(), rows.kind) for rows in tracked_rows()}
for _rows in (Purchases, Refunds):
    if ("order.line", _rows.kind) not in _declared:
        track_rows("order.Line")(_rows)
