"""From rows to columns: read the catalogue and behaviour, clean them, and store a run's copy in files."""

from recommender.datasets.cleaning import CleaningReport, Recorded, clean
from recommender.datasets.columns import People
from recommender.datasets.dataset import Dataset, read_dataset
from recommender.datasets.impressions import read_impressions
from recommender.datasets.reading import (
    read_interactions,
    read_items,
    read_judgements,
    read_names,
    read_people,
)
from recommender.datasets.report import data_hash, summary

__all__ = [
    "CleaningReport",
    "Dataset",
    "People",
    "Recorded",
    "clean",
    "data_hash",
    "read_dataset",
    "read_impressions",
    "read_interactions",
    "read_items",
    "read_judgements",
    "read_names",
    "read_people",
    "summary",
]
