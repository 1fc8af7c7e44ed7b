"""Version 1 of the JSON API; what it needs of REST framework is set on its own views, not in the host's settings."""
