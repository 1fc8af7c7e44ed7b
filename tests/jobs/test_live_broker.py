"""A real Celery worker in a separate process, with the broker of this mode: folders, or Redis with REDIS_URL."""

import pytest
from django.utils import timezone

from recommender import bundles, runs, tasks
from recommender.models import Item, ItemVector, Run
from shopreco.celery import app
from tests.conftest import run_worker, wait_for

pytestmark = [pytest.mark.broker, pytest.mark.django_db(transaction=True)]

TRAINING = {
    "minutes": 0.05, "encoder": "scratch", "least_pairs": 20, "least_examples": 20, "least_lists": 5,
    "least_steps": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _scratch_encoder(settings, monkeypatch):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    monkeypatch.setattr(tasks, "_paused_until", 0.0)
    tasks.counts.clear()


def ended(run):
    run.refresh_from_db()
    return run.state not in runs.ACTIVE


def test_worker_trains_what_was_asked_for_in_a_subprocess(live_demo_shop, live_worker):
    bundles.ensure_champion()
    run = runs.request_run(trigger="admin", settings=TRAINING)
    wait_for(lambda: ended(run), what=f"the end of the run, see {live_worker}", seconds=240)
    assert run.state == Run.State.SUCCEEDED, run.reason
    assert run.verdict in (Run.Verdict.REFUSED, Run.Verdict.PROVISIONAL), run.reason  # 48 cases: by expectation
    assert run.metrics["lists"]["all"]["ranker"]
    assert run.bundle is not None
    assert "process" in run.worker
    log = live_worker.read_text()
    assert "recommender.train" in log
    assert "Traceback" not in log


def test_saved_product_is_encoded_by_the_worker(live_demo_shop, live_worker):
    bundle = bundles.ensure_champion()
    product = live_demo_shop.product()
    product.title = "Brass sextant in a walnut box"
    product.save()
    item = Item.objects.get(item_id=product.stock_code)
    wanted = ItemVector.objects.filter(item=item, encoder_hash=bundle.encoder_hash, text_hash=item.text_hash)
    wait_for(wanted.exists, what=f"the vector of the new title, see {live_worker}", seconds=60)
    wait_for(lambda: not bundles.items_without_vector(bundle.encoder_hash).exists(), what="all vectors", seconds=60)


def test_run_whose_message_was_lost_is_found_by_the_schedule(live_demo_shop, tmp_path):
    """The folder broker forgets a message on receipt: SQL remembers the run, and the poke finds it."""
    run = Run.objects.create(trigger="here", settings={"minutes": 0.05, "encoder": "scratch"})
    Item.objects.update(is_active=False)  # so that the run ends at once, in words
    with run_worker("shopreco-recommender,shopreco-training", log=tmp_path / "worker.log"):
        assert tasks.publish(tasks.poke_runs)
        wait_for(lambda: ended(run), what="the end of the run", seconds=120)
    assert run.verdict == Run.Verdict.INSUFFICIENT, run.reason
    assert "0 active items" in run.reason


def test_cancelled_run_stops_in_its_worker(live_demo_shop, live_worker):
    bundles.ensure_champion()
    run = runs.request_run(trigger="admin", settings={**TRAINING, "minutes": 10})
    in_training = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING, stage__in=("encoder", "context", "head"))
    wait_for(in_training.exists, what=f"the first stage, see {live_worker}", seconds=120)
    asked_at = timezone.now()
    runs.cancel(run)
    wait_for(lambda: ended(run), what="the end of the run", seconds=60)
    assert run.state == Run.State.CANCELLED
    assert (run.finished_at - asked_at).total_seconds() < 45


def test_training_queue_is_left_alone_by_a_worker_of_the_default_queue(live_demo_shop, tmp_path):
    bundle = bundles.ensure_champion()
    with run_worker("shopreco-recommender", log=tmp_path / "worker.log"):
        run = runs.request_run(trigger="admin", settings=TRAINING)
        assert tasks.publish(tasks.encode_items)
        wait_for(lambda: not bundles.items_without_vector(bundle.encoder_hash).exists(), what="all vectors", seconds=60)
        run.refresh_from_db()
        assert run.state == Run.State.QUEUED
    runs.cancel(run)


def test_hour_without_a_trainer_leaves_one_message(live_demo_shop):
    with tasks.broker(app) as connection:
        connection.default_channel.queue_purge(tasks.queues(app)[1])  # what a test before this one has left
    run = runs.request_run(trigger="admin", settings=TRAINING)
    try:
        for _ in range(60):
            tasks.poke_runs()
        assert tasks.n_waiting(app, tasks.train) == 1
        assert (tasks.counts["waiting"], tasks.counts["failed"]) == (60, 0)
    finally:
        with tasks.broker(app) as connection:
            connection.default_channel.queue_purge(tasks.queues(app)[1])
    tasks.poke_runs()  # whose message was lost, or read by a worker that was killed
    assert tasks.n_waiting(app, tasks.train) == 1
    with tasks.broker(app) as connection:
        connection.default_channel.queue_purge(tasks.queues(app)[1])
    runs.cancel(run)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_worker_that_is_told_to_stop_hands_its_run_over(live_demo_shop, tmp_path, pool):
    bundles.ensure_champion()
    with run_worker("shopreco-training", log=tmp_path / "worker.log", pool=pool) as worker:
        run = runs.request_run(trigger="admin", settings={**TRAINING, "minutes": 10})
        in_training = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING, stage__in=("encoder", "context", "head"))
        wait_for(in_training.exists, what=f"the first stage, see {tmp_path / 'worker.log'}", seconds=120)
        worker.terminate()
        worker.wait(60)
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED, run.reason
    assert "deaths" not in run.provenance
    runs.cancel(run)
