"""django-oscar without a mapping: its products are items, its signals and order lines are events."""
