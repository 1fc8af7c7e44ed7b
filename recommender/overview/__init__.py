"""Sums of behaviour by hour, made in the background, so that the overview never reads a raw event."""

from recommender.overview.hours import LATE, RollUp, roll_up, window
from recommender.overview.queries import SPANS, roll_up_queries

__all__ = ["LATE", "SPANS", "RollUp", "roll_up", "roll_up_queries", "window"]
