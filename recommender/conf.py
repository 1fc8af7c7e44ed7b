"""The one settings dict, `RECOMMENDER`, read where it is used: `conf.get("CONSENT")`."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.utils.module_loading import import_string

from recommender.exceptions import ConfigurationError
from recommender.types import Adaptation, FineTuning, Teaching

DEFAULTS: dict[str, Any] = {
    # Where bundles, checkpoints and run logs live; None: <BASE_DIR>/var/recommender.
    "DIRECTORY": None,
    # Alias in STORAGES that bundles are published through; "" keeps them in DIRECTORY.
    "BUNDLE_STORAGE": "",
    # Whether events are copied once a day into Parquet files beside the bundles, from which learning then reads.
    "ARCHIVE": False,
    # "auto": packaged MiniLM weights where installed, else "scratch"; or a folder, or a hub name.
    "ENCODER": "auto",
    # Whether a run first teaches the encoder the shop's words: "auto" (a raw BERT only), "always", "never".
    "ADAPTATION": "auto",
    # How a run fine-tunes the encoder on pairs: "full", "frozen", "lora", "adalora", "prefix", "ia3".
    "FINE_TUNING": "full",
    # Whether a cross-encoder teaches the encoder: "auto" (with enough judgements and minutes), "on", "off".
    "TEACHER": "off",
    # Time box of one training run.
    "TRAINING_MINUTES": 3.0,
    # Time box of one tuning: the search for better settings of a training.
    "TUNING_MINUTES": 30.0,
    # Where the curves of a run are drawn: "", "tensorboard", "wandb" (files only) or "wandb-online" (sent).
    "EXPERIMENT_TRACKER": "",
    "SEED": 0,
    # Crontab of the scheduled training: minute, hour, day of week; None switches it off.
    "TRAINING_SCHEDULE": ("0", "3", "*"),
    # Dotted path of `callable(request) -> bool`; nothing is recorded before it says True.
    "CONSENT": "recommender.identity.has_consented",
    # Whose orders teach the model: "required" (only people who consented here), "pseudonymous" (everybody's, but nobody
    # is served a profile before consent), or the dotted path of `callable(user_keys) -> those who agreed`.
    "ORDER_CONSENT": "required",
    # Secrets of the keyed hashes by which erased persons are remembered, newest first; () takes SECRET_KEY and its
    # fallbacks.
    "SUBJECT_KEYS": (),
    # Fernet keys, newest first, by which queries are encrypted where they are stored; () stores them as they are.
    "ENCRYPTION_KEYS": (),
    "COOKIE_NAME": "recommender_visitor",
    "COOKIE_AGE_DAYS": 365,
    # How long an app that is not used stays signed in; each refresh begins anew.
    "TOKEN_DAYS": 180,
    # Older events are deleted, and visitors who have not come since.
    "RETENTION_DAYS": 730,
    # Days of other kinds, by name; what is left out keeps its default. Nothing of a person outlives RETENTION_DAYS.
    "RETENTION": {},
    # What is published of behaviour needs so many people and events: past queries, and neighbours by visitors.
    "FEWEST_PEOPLE": 5,
    "FEWEST_EVENTS": 10,
    # "Bought together" shows no pair of items that fewer people bought in one order.
    "FEWEST_BUYERS": 3,
    # The overview credits a list with clicks, carts and orders for so many days after it was shown.
    "ATTRIBUTION_DAYS": 1.0,
    # Where the nearest items are looked for: None, in this process; the dotted path of a VectorEngine, or a dict with
    # it as "engine", its options, and the "deadline_seconds" of a search.
    "VECTOR_ENGINE": None,
    # A process looks for changed items, statistics and bundles at most this often.
    "REFRESH_SECONDS": 5.0,
    # Within what time a list of a page and an answer of the API are made, by lower rungs if need be; 0: however long.
    "PAGE_DEADLINE_SECONDS": 0.05,
    "API_DEADLINE_SECONDS": 0.3,
    # From so many items on, the processes of a machine share the shelf through files in DIRECTORY; None: never.
    "SNAPSHOT_ITEMS": 1000,
    # Largest body that the events endpoint reads, and most events in it.
    "MAX_BODY_BYTES": 262_144,
    "MAX_EVENTS_PER_CALL": 200,
    # Most calls of the API by span of time; what is left out keeps its default, None switches a limit off.
    "THROTTLES": {},
    # How many proxies of the shop's own stand before it; None: REST_FRAMEWORK's, else one if calls come from within.
    "NUM_PROXIES": None,
    # Maximal marginal relevance: 1.0 ranks by score alone.
    "DIVERSITY": 0.9,
    # Slots whose last position explores: {"home": {"how": "epsilon", "rate": 0.1}}; the other way is "thompson".
    "EXPLORE": {},
    # What a run promotes serves a share of the shoppers first: {"share": 0.1, "days": 7}; {}: everybody at once.
    "ROLLOUT": {},
    # How many different people must approve what a run promotes; 1: the gate alone, or whoever promotes.
    "PROMOTION_PEOPLE": 1,
    # How much a shopper's likings count in the order of a search; 0.0 switches them off.
    "PERSONAL_SEARCH": 1.0,
    # How many items of a list may share a value, by attribute, such as {"brand": 2, "category": 4}.
    "AT_MOST": {},
    # By which attributes of your Catalogs exposure is watched, beside brand, category, price and newness.
    "EXPOSURE_ATTRIBUTES": ("vendor",),
    # Whether a merchandiser's rule must be published by somebody else than who changed it last.
    "TWO_PERSON_RULES": False,
    # Hosts inside the network, or by http, to which webhooks of the admin may post nevertheless.
    "WEBHOOK_PRIVATE_HOSTS": (),
    # Who sends it as a bearer token may read metrics; "": nobody, there is no such page.
    "METRICS_TOKEN": "",
}

CHOICES: dict[str, tuple[str, ...]] = {
    "ADAPTATION": tuple(Adaptation),
    "TEACHER": tuple(Teaching),
    "FINE_TUNING": tuple(FineTuning),
}
"""The allowed values of settings; a run's own settings have the same names in lower case."""


DEFAULT_THROTTLES: dict[str, str | None] = {
    "address": "600/min",
    "visitor": "300/min",
    "key": "6000/min",
    "new": "600/hour",
    "bulk": "30/hour",
}
"""Per address without a key; per visitor; per secret key, and per address with a publishable one; new visitors and
refreshed tokens per address; exports per person."""

DEFAULT_RETENTION: dict[str, float] = {
    "queries": 90,
    "impressions": 365,
    "unpaid_rows": 90,
    "past_prices": 60,
    "alarms": 365,
    "tokens": 30,
    "links": 365,
    "rejected_events": 14,
    "event_counts": 730,
    "figures": 730,
    "query_figures": 90,
    "deliveries": 90,
    "erasures": 1095,
}
"""Days that each kind is kept: of queries their text; of tokens, links and erasures since they ended."""

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb", "wandb-online": "wandb"}
"""What `EXPERIMENT_TRACKER` may name beside "", and the package that each needs."""


def get(name: str) -> Any:
    """The value of one setting; raises `ConfigurationError` for an unknown name."""
    if name not in DEFAULTS:
        raise ConfigurationError(f"RECOMMENDER[{name!r}] does not exist. {closest(name)}".strip())
    return _overrides().get(name, DEFAULTS[name])


def get_callable(name: str) -> Any:
    """The object that a dotted-path setting names."""
    path = get(name)
    if callable(path):
        return path
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"RECOMMENDER[{name!r}] names {path!r}, which cannot be imported ({error}). "
            "Give the dotted path of a callable."
        ) from error


def directory() -> Path:
    """The folder of bundles and run logs; it is not created here."""
    configured = get("DIRECTORY")
    if configured is not None:
        return Path(configured)
    return Path(getattr(settings, "BASE_DIR", ".")) / "var" / "recommender"


def make_directory() -> Path:
    """The same folder, created where it is missing. It ignores itself, so that no `git add` of the shop takes it."""
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return folder


def bundle_storage() -> Storage:
    """The storage that bundles are published through."""
    alias = get("BUNDLE_STORAGE")
    return storages[alias] if alias else FileSystemStorage(location=directory() / "bundles")


def deadline_seconds(name: str) -> float:
    """How long a list may take; infinite without a deadline, and where each list first loads what it is made of."""
    return float(get(name) if get("REFRESH_SECONDS") else 0) or math.inf


def throttles() -> dict[str, str | None]:
    """Every limit of the API, such as `"600/min"`; None for one that is switched off."""
    return {**DEFAULT_THROTTLES, **get("THROTTLES")}


def retention() -> dict[str, float]:
    """Days that each kind is kept. Receipts of erasures name nobody, and may be kept longer than behaviour."""
    longest = get("RETENTION_DAYS")
    days = {**DEFAULT_RETENTION, **get("RETENTION")}
    bounded = {kind: n_days if kind == "erasures" else min(n_days, longest) for kind, n_days in days.items()}
    return {"events": longest, "visitors": longest, **bounded}


def unknown_names() -> list[str]:
    """Keys of `RECOMMENDER` that are no settings, sorted."""
    return sorted(set(_overrides()) - set(DEFAULTS))


def closest(name: str, names: Any = DEFAULTS) -> str:
    """A sentence that suggests the most similar name; empty without one."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {matches[0]!r}?" if matches else ""


def wrong_choice(name: str, value: Any) -> str:
    """A sentence with the allowed values; empty if `value` is one of them or the setting takes any value."""
    choices = CHOICES.get(name)
    if choices is None or value in choices:
        return ""
    return f"{name} must be one of {', '.join(choices)}, not {value!r}. {closest(str(value), choices)}".strip()


def _overrides() -> dict[str, Any]:
    overrides = getattr(settings, "RECOMMENDER", {})
    if not isinstance(overrides, dict):
        raise ConfigurationError(f"RECOMMENDER must be a dict, not {type(overrides).__name__}.")
    return overrides
