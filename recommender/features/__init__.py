"""Behaviour as numbers: the features of candidates, computed the same way in training and serving."""

from recommender.features.matrix import RequestVectors, features
from recommender.features.names import BERT_FEATURES, FEATURE_NAMES
from recommender.features.orders import ORDER_DECAY, purchases

__all__ = [
    "BERT_FEATURES",
    "FEATURE_NAMES",
    "ORDER_DECAY",
    "RequestVectors",
    "features",
    "purchases",
]
