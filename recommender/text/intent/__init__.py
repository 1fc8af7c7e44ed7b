"""What a query is about: its brand, category, attribute and price words, learned from the catalogue and behaviour."""

from recommender.text.intent.features import INTENT_FEATURE_NAMES, has_brand, intent_features
from recommender.text.intent.model import Catalogue, IntentModel, fit, known_words

__all__ = ["INTENT_FEATURE_NAMES", "Catalogue", "IntentModel", "fit", "has_brand", "intent_features", "known_words"]
