"""Search and recommendations that learn from a Django shop's own shoppers."""

__version__ = "0.1.0"
