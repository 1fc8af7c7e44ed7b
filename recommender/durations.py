"""Units of time, the length of a session, the window of labels and half-lives, each defined once.

After a half-life an event counts half: its weight is 0.5 ** (age / half-life), the exponential time weight of Ding and
Li 2005, "Time weight collaborative filtering", CIKM. No Django, no I/O.
"""

HOUR_SECONDS = 3_600.0
DAY_SECONDS = 86_400.0

SESSION_SECONDS = 1_800.0
"""A session ends after half an hour without an event (Google Analytics' default), and so does the effect of a search:
what a visitor clicks or buys within this time of a query counts as its answer."""

LABEL_WINDOW_SECONDS = DAY_SECONDS
"""A click, cart or purchase labels a list for one day: later ones are hardly its effect, and labels that are complete
after a day are soon available for training."""

CLICK_ATTRIBUTION_DAYS = 30
"""When it is recorded, a cart or an order is given the list from which the same person opened the item, up to this long
before: the record keeps the link, and training uses it only within `LABEL_WINDOW_SECONDS`."""

HABIT_HALF_LIFE_DAYS = 60.0
"""Of an order in the features for lasting habits."""

NEIGHBOUR_HALF_LIFE_DAYS = 60.0
"""Of a past event in the item-kNN features."""

PERSONA_HALF_LIFE_DAYS = 60.0
"""Of a past event in personas and segments: the same as in the ranker's features."""

CANDIDATE_HALF_LIFE_DAYS = 30.0
"""Of a past event when candidates are retrieved."""

CONTEXT_HALF_LIFE_DAYS = 45.0
CONTEXT_HALF_LIFE_SESSIONS = 4.0
"""Of a past event in the context vector, which halves with each 45 days and again with each 4 later sessions."""
