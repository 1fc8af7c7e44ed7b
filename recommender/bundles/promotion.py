"""Which bundle serves: promotion, roll-back, quarantine, and which bundles are retained."""

from __future__ import annotations

import logging
from typing import Any

from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext

from recommender import conf
from recommender.bundles import store
from recommender.bundles.spaces import has_complete_collection
from recommender.exceptions import BundleError, RunError
from recommender.models import Bundle, Experiment, Item, ItemVector
from recommender.models.connections import writing
from recommender.signals import bundle_promoted

logger = logging.getLogger(__name__)

N_OTHERS = 3
"""Bundles retained beside the champion, the previous one and the untrained one."""


def champion() -> Bundle | None:
    """The bundle that serves. One query."""
    return Bundle.objects.filter(state=Bundle.State.CHAMPION).first()


def promote(bundle: Bundle, *, user: Any = None, is_provisional: bool = False) -> None:
    """Let a bundle serve: verify its files, check that every active item is encoded, make the champion `previous`.

    is_provisional: on its expected gain, so that the next run judges it again. Raises as `require_promotable`.
    """
    require_promotable(bundle)
    make_champion(bundle, is_provisional=is_provisional)
    logger.info("bundle %s is champion, by %s", bundle, f"user {user.pk}" if user is not None else "the gate")
    prune()


def require_promotable(bundle: Bundle) -> None:
    """Raise BundleError for a broken bundle, RunError while items are not encoded or not in the vector engine."""
    if bundle.state == Bundle.State.QUARANTINED:
        why = bundle.manifest.get("quarantined") or gettext("its files did not verify.")
        raise BundleError(
            gettext("Bundle %(bundle)s is quarantined: %(why)s Train a new one.") % {"bundle": bundle, "why": why}
        )
    store.fetch(bundle.name)
    n_missing = items_without_vector(bundle.encoder_hash).count()
    if n_missing:
        raise RunError(
            gettext(
                "%(n)s items have no vector of bundle %(bundle)s yet. A worker encodes them within minutes: promote "
                "again then, or run recommender_sync now."
            )
            % {"n": f"{n_missing:,}", "bundle": bundle}
        )
    if conf.get("VECTOR_ENGINE") and not has_complete_collection(bundle):
        raise RunError(
            gettext(
                "The vector engine does not have all vectors of bundle %(bundle)s yet. Run recommender_engine_sync "
                "--bundle %(name)s, then promote again."
            )
            % {"bundle": bundle, "name": bundle.name}
        )


def roll_back(*, user: Any = None) -> Bundle:
    """Let the previous champion serve again; the present one becomes `previous`. Raises RunError without one."""
    bundle = previous()
    if bundle is None:
        raise RunError(gettext("There is no previous champion to roll back to. Train, or promote another bundle."))
    store.fetch(bundle.name)
    make_champion(bundle)
    logger.info("rolled back to bundle %s, by %s", bundle, f"user {user.pk}" if user is not None else "a command")
    return bundle


def confirm(bundle: Bundle) -> None:
    """Let a provisional champion serve like any other."""
    Bundle.objects.filter(pk=bundle.pk).update(is_provisional=False)


def take_back(bundle: Bundle) -> Bundle:
    """Let the bundle before a provisional champion serve again, and return it; without one bundle 0.

    Raises BundleError for a broken bundle.
    """
    before = previous() or Bundle.objects.filter(is_trained=False).exclude(state=Bundle.State.QUARANTINED).first()
    if before is None:
        raise RunError(gettext("There is no previous champion to roll back to. Train, or promote another bundle."))
    store.fetch(before.name)
    make_champion(before)
    logger.info("bundle %s was taken back: bundle %s serves again", bundle, before)
    return before


def previous() -> Bundle | None:
    """The bundle that served before. One query."""
    return Bundle.objects.filter(state=Bundle.State.PREVIOUS).first()


def quarantine(name: str, reason: str) -> None:
    """Take a broken bundle out of service; where it was champion, the previous one serves."""
    with writing(using=router.db_for_write(Bundle)):
        bundle = Bundle.objects.select_for_update().filter(name=name).first()
        if bundle is None or bundle.state == Bundle.State.QUARANTINED:
            return
        was_champion = bundle.state == Bundle.State.CHAMPION
        bundle.state = Bundle.State.QUARANTINED
        bundle.manifest = {**bundle.manifest, "quarantined": reason}
        bundle.save(update_fields=["state", "manifest"])
        before = previous() if was_champion else None
        if before is not None:
            _crown(before)


def retained() -> list[Bundle]:
    """The bundles whose files and vectors are kept: champion, previous, those of live experiments, bundle 0 and the
    newest others. One query."""
    tried = Experiment.objects.filter(state=Experiment.State.LIVE, bundle__isnull=False).values("bundle_id")
    serving = models.Q(state__in=(Bundle.State.CHAMPION, Bundle.State.PREVIOUS)) | models.Q(pk__in=tried)
    usable_untrained = models.Q(is_trained=False) & ~models.Q(state=Bundle.State.QUARANTINED)
    rank = models.Case(
        models.When(state=Bundle.State.CHAMPION, then=0),
        models.When(serving, then=1),
        models.When(usable_untrained, then=2),
        default=3,
    )
    ranked: list[Bundle] = list(Bundle.objects.annotate(rank=rank).order_by("rank", "-created_at", "-pk"))
    n_always = sum(bundle.rank < 3 for bundle in ranked)  # type: ignore[attr-defined]
    return ranked[: n_always + N_OTHERS]


def prune() -> int:
    """Delete the bundles that are not `retained`, with their files and vectors; return how many."""
    stay = retained()
    obsolete = list(Bundle.objects.exclude(pk__in=[bundle.pk for bundle in stay]))
    for bundle in obsolete:
        store.delete(bundle)  # first, so that a process that is killed leaves a row by which the rest is deleted
        bundle.delete()
    if obsolete:
        ItemVector.objects.exclude(encoder_hash__in={bundle.encoder_hash for bundle in stay}).delete()
    return len(obsolete)


def items_without_vector(encoder_hash: str) -> models.QuerySet[Item]:
    """Active items whose present text has no vector of this encoder."""
    vectors = ItemVector.objects.filter(
        item=models.OuterRef("pk"), encoder_hash=encoder_hash, text_hash=models.OuterRef("text_hash")
    )
    return Item.objects.filter(~models.Exists(vectors), is_active=True)


def make_champion(bundle: Bundle, *, is_provisional: bool = False) -> None:
    """Exchange the champion in one transaction; nothing is verified here."""
    with writing(using=router.db_for_write(Bundle)):
        list(Bundle.objects.select_for_update().filter(state__in=(Bundle.State.CHAMPION, Bundle.State.PREVIOUS)))
        if Bundle.objects.filter(pk=bundle.pk, state=Bundle.State.CHAMPION).exists():
            return
        Bundle.objects.filter(state=Bundle.State.PREVIOUS).update(state=Bundle.State.ARCHIVED)
        Bundle.objects.filter(state=Bundle.State.CHAMPION).update(state=Bundle.State.PREVIOUS)
        _crown(bundle, is_provisional=is_provisional)


def _crown(bundle: Bundle, *, is_provisional: bool = False) -> None:
    bundle.state, bundle.promoted_at, bundle.is_provisional = Bundle.State.CHAMPION, timezone.now(), is_provisional
    bundle.save(update_fields=["state", "promoted_at", "is_provisional"])
    using = router.db_for_write(Bundle)
    transaction.on_commit(lambda: bundle_promoted.send(sender=Bundle, name=bundle.name), using=using, robust=True)
