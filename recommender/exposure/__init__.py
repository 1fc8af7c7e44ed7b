"""Which groups of items shoppers get to see: position-discounted shares, beside the catalogue and the demand."""

from recommender.exposure.days import count_days
from recommender.exposure.floors import watch_floors

__all__ = ["count_days", "watch_floors"]
