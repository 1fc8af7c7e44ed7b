"""Who the visitors are: one visitor described in words, and the segments that visitors fall into."""

from recommender.personas.description import TitledItems, describe, interests_of
from recommender.personas.parts import ActionCounts, Interest, PersonaDescription
from recommender.personas.wording import ago

__all__ = [
    "ActionCounts",
    "Interest",
    "PersonaDescription",
    "TitledItems",
    "ago",
    "describe",
    "interests_of",
]
