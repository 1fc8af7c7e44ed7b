"""Cleaning and statistics as Ibis expressions, for behaviour that outgrows memory: on DuckDB."""

from recommender.datasets.expressions.cleaning import cleaned
from recommender.datasets.expressions.engine import Engine, duckdb_engine
from recommender.datasets.expressions.events import events_of
from recommender.datasets.expressions.statistics import shop_state

__all__ = ["Engine", "cleaned", "duckdb_engine", "events_of", "shop_state"]
