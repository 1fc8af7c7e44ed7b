"""The names of the features, by group; their order is the order of the columns of `matrix.features`."""

from __future__ import annotations

OWN = (
    "own_orders", "own_share", "own_decayed", "own_fading", "own_recency", "own_in_last", "own_due", "own_repeated",
    "own_quantity", "is_own", "own_lasting", "own_popular", "own_trend",
)  # fmt: skip
INTEREST = ("viewed", "carted", "refunded", "dismissed")
NEIGHBOUR = (
    "knn", "knn_mean", "knn_recent", "knn_basket", "last_order", "bought_with_current", "like_current",
    "bought_with_cart", "regression", "regression_fading", "sequel", "sequel_fading",
    "precursor", "precursor_fading",
)  # fmt: skip
POPULARITY = (
    "popular_1", "popular_7", "popular_30", "popular_ever", "trend", "sold_lately", "fresh", "age", "sold_before",
)  # fmt: skip
TASTE = ("price_gap", "price_level", "category_share", "category_current")
PERSONA = ("persona_category", "persona_words", "persona_price")
WORDS = ("words_of_last", "words_of_nearest")
VISITOR = ("is_cold", "visitor_orders", "visitor_recency", "has_query", "visitor_items", "order_size")
TEXT = ("lexical",)
BERT = (
    "interest_match", "query_match", "history_match", "last_order_match", "current_match", "nearest_of_last",
    "several_match",
)  # fmt: skip
PRODUCTS = (
    ("new_knn", "knn_mean"), ("new_popular_7", "popular_7"), ("new_popular_30", "popular_30"), ("new_trend", "trend"),
    ("new_fresh", "fresh"), ("new_price_gap", "price_gap"), ("new_interest_match", "interest_match"),
    ("new_history_match", "history_match"), ("new_regression", "regression_fading"), ("new_sequel", "sequel_fading"),
    ("new_several", "several_match"), ("new_persona_words", "persona_words"),
)  # fmt: skip
"""Each is "new to the visitor" times another feature, so that one model learns habit and novelty separately."""

FEATURE_NAMES: tuple[str, ...] = (
    *OWN, *INTEREST, *NEIGHBOUR, *POPULARITY, *TASTE, *PERSONA, *WORDS, *VISITOR, *TEXT, *BERT,
    *(name for name, _ in PRODUCTS),
)  # fmt: skip

BERT_FEATURES: frozenset[str] = frozenset({*BERT, "new_interest_match", "new_history_match", "new_several"})
"""The head without these is the linear baseline."""
