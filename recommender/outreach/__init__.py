"""Whom a shop may have a reason to write to, and what about: lapsed buyers, items that are due, prices that fell.

For the shop's own e-mail system. Only people with an account who have consented; whether they want e-mails, and how
they are reached, is for the shop to know.
"""

from recommender.outreach.prices import PriceDrop, price_drops
from recommender.outreach.rhythms import DueItem, LapsedBuyer, due_items, win_back

__all__ = ["DueItem", "LapsedBuyer", "PriceDrop", "due_items", "price_drops", "win_back"]
