"""A small plain shop around the recommender; it would work the same without it."""
