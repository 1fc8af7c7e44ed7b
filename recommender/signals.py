"""Signals that a host may listen to; the app's own flow never depends on them."""

from django.dispatch import Signal

event_recorded = Signal()
"""Sent after a commit with `n_accepted` (int) once per ingested batch."""

bundle_promoted = Signal()
"""Sent with `name` (str, the bundle's hash) after a promotion or a rollback was committed."""

items_changed = Signal()
"""Sent after a commit with `item_ids` (list[str]) when the catalogue's rows changed; encoding starts from it."""
