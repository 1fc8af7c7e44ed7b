"""Answers with a bundle that serves nobody, to look at what it would list. Nothing of it reaches a shopper."""

from __future__ import annotations

import threading
from collections import OrderedDict

from django.utils.translation import gettext

from recommender import bundles
from recommender.exceptions import BundleError
from recommender.serving.loading import shelf_with_vectors
from recommender.serving.memory import Served
from recommender.serving.shelf import Shelf

N_CACHED = 2
"""Bundles that a process holds to look at them, beside what it serves with: one costs as much memory as that."""

LEAST_SHARE = 0.5
"""Of the active items: a bundle with vectors for fewer lists something else than it would."""

_cache: OrderedDict[str, tuple[Shelf, Served]] = OrderedDict()
_lock = threading.Lock()


def with_bundle(name: str, served: Served) -> Served:
    """The pair of a bundle over the same items, under the same rules; the pair itself where it serves already.

    As long as loading a bundle takes, once for each state of the catalogue. Raises BundleError for a bundle that is
    gone or broken, and for one whose encoder has encoded hardly any item.
    """
    if name == served.bundle:
        return served
    if name in served.challengers:
        return served.challengers[name]
    with _lock:
        shelf, pair = _cache.get(name, (None, None))
        if pair is None or shelf is not served.shelf:
            pair = _loaded(name, served.shelf)
            _cache[name] = (served.shelf, pair)
        _cache.move_to_end(name)
        while len(_cache) > N_CACHED:
            _cache.popitem(last=False)
    from recommender.serving.rule_book import compiled

    return pair.ruled_by(compiled(served.rules.sources, pair.shelf, served.rules.stamp))


def _loaded(name: str, shelf: Shelf) -> Served:
    try:
        from recommender.serving.ranker import Ranker
    except ImportError as error:
        raise BundleError(gettext('To load a bundle this process needs: pip install "shopreco[serving]".')) from error
    ranker = Ranker.load(bundles.fetch(name), name=name)
    own = shelf_with_vectors(shelf, ranker.encoder_hash, ranker.item_vectors)
    n_active = int(shelf.items.active.sum())
    n_encoded = 0 if own.vectors is None else int((own.vectors[shelf.items.active] != 0).any(axis=1).sum())
    if n_active and n_encoded < LEAST_SHARE * n_active:
        raise BundleError(
            gettext(
                "The encoder of bundle %(bundle)s has encoded %(n)d of %(of)d items, so its lists would not be its "
                "own. Choose another bundle; a promotion would encode them first."
            )
            % {"bundle": name[:12], "n": n_encoded, "of": n_active}
        )
    return Served.paired(own, ranker, name)
