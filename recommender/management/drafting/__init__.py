"""Drafts a shop's `recommendations.py` from its models, URLs and views, with the reason for each line beside it."""
