"""What a query is about: brand, category, attribute and price words, learned from titles and past queries."""

from recommender.text.intent.features import INTENT_FEATURE_NAMES, has_brand, intent_features
from recommender.text.intent.model import IntentModel, LabelledTitles, fit, known_words

__all__ = [
    "INTENT_FEATURE_NAMES",
    "IntentModel",
    "LabelledTitles",
    "fit",
    "has_brand",
    "intent_features",
    "known_words",
]
