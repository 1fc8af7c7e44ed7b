"""The words that shops use in names of fields, models and URLs, and how well a name fits a list of words.

They are English, with the usual words of German, French, Spanish, Italian, Portuguese and transliterated Persian shops.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PRICE = _listed("price selling net gross amount preis precio prix prezzo preco gheymat")

NOT_THE_PRICE = _listed(
    """
    old original compare before cost purchase wholesale min max discount discounts delivery shipping tax vat line
    total subtotal sum weight count excl retail buying list rrp previous
    """
)
"""Words that show that a number is not the price that a shopper pays now."""

UNIT_PRICE = _listed("price unit each piece selling net gross preis precio prix prezzo preco gheymat")
"""The price of one piece in an order line; there `amount` is the price of all pieces."""

QUANTITY = _listed(
    """
    quantity qty pieces count amount number units n num menge anzahl stueck cantidad quantite quantita quantidade
    tedad
    """
)

STOCK = _listed("stock inventory available availability bestand existencias mojoodi")

CATEGORY = _listed(
    """
    category categories department departments section sections genre genres collection collections shelf shelves
    kategorie kategorien categoria categorie rubrik taxon taxons
    """
)

BRAND = _listed("brand manufacturer maker vendor publisher producer marke hersteller marque marca")

IMAGE = _listed("image images photo photos picture pictures thumbnail cover original file bild foto")

TITLE = _listed("title name headline titel titre titolo titulo nombre nom bezeichnung label")

DESCRIPTION = _listed("description blurb summary body details long_description short_description content")
"""Whole names."""

PRODUCT = _listed("product products article item book good goods sku variant produkt artikel producto")

NO_PRODUCT = _listed(
    """
    category categories department departments section sections genre genres collection collections shelf shelves
    kategorie kategorien categoria categorie rubrik taxon taxons user customer address review rating comment image
    photo tag coupon attribute option payment shipment invoice country city currency tax partner post page stock
    record brand method class type status log history subscriber alert discount offer range value condition
    benefit template token site banner notification charge charges shipping wallet event note
    """
)
"""Models that may have a title, a price and a page but are not products."""

ORDER = _listed("order orders purchase sale sales invoice checkout booking transaction bestellung pedido commande")

LINE = _listed("line lines item items position entry row detail product orderline orderitem")

CART = _listed("cart basket bag trolley warenkorb wish wishlist favorite favourite saved quote carrito panier")
"""Carts and wish lists, which are not orders."""

CARTS_OF_VIEWS = _listed("cart basket bag trolley warenkorb carrito panier")
"""Carts, but not wish lists, in names of URLs, views and models."""

ADDS = _listed("add put create buy append increase plus")

REMOVES = _listed("remove delete del drop clear empty discard minus decrease")

NO_VIEW = _listed(
    """
    edit update delete create review reviews wishlist favorite compare admin dashboard alert checkout payment rate
    comment order orders preview feed sitemap export
    """
)
"""Pages about a product that are not its own page."""

NO_CART = _listed("checkout voucher vouchers coupon promo saved wishlist wishlists dashboard")
CHANGES = _listed("update set edit change quantity")
"""Pages that change a cart without putting an item into it."""

QUERY = _listed("q query search s term terms words keyword keywords text find phrase suche")

SEARCH = _listed("search find suche suchen recherche buscar cerca jostoju")

NO_SEARCH = _listed("suggest suggestions autocomplete typeahead complete dashboard admin")

DATE = _listed("placed ordered created date purchased bought paid time timestamp added at submitted")

NOT_THE_DATE = _listed(
    """
    updated modified changed shipped delivered sent returned back refunded cancelled canceled deleted expires
    expiry due birth merged estimated est dispatched closed
    """
)

RETURNED = _listed(
    """
    returned_at returned refunded_at refunded sent_back is_returned is_refunded cancelled_at canceled_at
    is_cancelled is_canceled cancelled canceled date_returned date_refunded
    """
)
"""Whole names of columns."""

EMAILS = _listed("email e_mail mail email_address customer_email guest_email contact_email")

GROUPS = _listed("parent master main base variant_of parent_product main_product canonical")

GROUP_COLUMNS = _listed("group_code style_number style parent_sku model_number group_id variant_group family")

CREATED = _listed(
    "first_seen created_at date_created created created_on added_at date_added published_at available_from"
)

BOUGHT_STATES = _listed(
    """
    paid complete completed shipped sent delivered dispatched fulfilled processing processed confirmed success
    successful succeeded closed done finished bezahlt versendet returned refunded pardakht
    """
)
"""States of an order that has been paid at some time."""

RETURNED_STATES = _listed("returned refunded refund chargeback cancelled canceled")


def parts(name: str) -> list[str]:
    """The words of a name in snake, camel or kebab case, in lower case: "shop:cart-addItem" has four."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [part.lower() for part in re.split(r"[^A-Za-z0-9]+", spaced) if part]


def has(name: str, words: Iterable[str]) -> bool:
    """Is one of the words a word of the name?"""
    return not set(parts(name)).isdisjoint(words)


def fit(name: str, words: tuple[str, ...], against: tuple[str, ...] = ()) -> int:
    """How well a name fits a list of words: about 100 if it does, minus 60 for each word of `against`; otherwise 0."""
    own = parts(name)
    indices = [words.index(part) for part in own if part in words]
    if not indices:
        return 0
    opposed = set(own) & set(against) - ({"tax", "vat"} if {"incl", "inc", "with", "gross"} & set(own) else set())
    return max(0, 100 - 2 * min(indices) + (50 if len(own) == 1 else 0) - 5 * len(own) - 60 * len(opposed))
