"""Tasks: what publishes them, what remains in SQL, and that a broken broker never breaks a save of the shop."""

import datetime as dt
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from celery import Celery
from celery.schedules import crontab
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from recommender import bundles, jobs, runs, tasks
from recommender.exceptions import MissingDependency
from recommender.models import Bundle, Event, Item, ItemStatistics, ItemVector, Job, Run, Worker
from recommender.runs import supervision
from recommender.signals import items_changed
from shopreco.celery import app
from tests.conftest import wait_for


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch):
    monkeypatch.setattr(tasks, "_paused_until", 0.0)
    tasks.counts.clear()


@pytest.fixture
def sent(monkeypatch):
    """What would have been published: (task name, arguments)."""
    messages = []
    monkeypatch.setattr(tasks, "_send", lambda app, name, args, **_: messages.append((name, args)))
    return messages


def add_item(name="mug"):
    return Item.objects.create(
        item_id=name, label="shop.Product", object_id=name, title=name, text=name, text_hash=name
    )


@pytest.mark.django_db(transaction=True)
def test_requested_run_is_published_after_the_commit(sent):
    with transaction.atomic():
        run = runs.request_run(trigger="admin")
        assert sent == []
    assert sent == [("recommender.train", (run.pk, run.key))]


@pytest.mark.django_db(transaction=True)
def test_run_that_is_rolled_back_is_not_published(sent):
    with transaction.atomic():
        runs.request_run(trigger="admin")
        transaction.set_rollback(True)
    assert sent == []


@pytest.mark.django_db
def test_changed_items_start_their_encoding(sent):
    items_changed.send(sender=Item, item_ids=["mug"])
    assert sent == [("recommender.encode_items", ())]


@pytest.mark.django_db
@pytest.mark.parametrize("is_one_process", [True, False])
def test_thousand_saves_send_one_message(sent, monkeypatch, is_one_process):
    """In one process by its memory, between processes by SQL."""
    for _ in range(1_000 if is_one_process else 50):
        items_changed.send(sender=Item, item_ids=["mug"])
        if not is_one_process:
            monkeypatch.setattr(jobs.ledger, "_marked", {})
    assert sent == [("recommender.encode_items", ())]


@pytest.mark.django_db
def test_item_saved_after_the_message_sends_another(sent, monkeypatch):
    monkeypatch.setattr(jobs.ledger, "COALESCE_SECONDS", 0.05)
    items_changed.send(sender=Item, item_ids=["mug"])
    time.sleep(0.1)
    items_changed.send(sender=Item, item_ids=["bag"])
    assert len(sent) == 2


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_where_our_own_worker_looks_by_itself(sent):
    """Unread messages would pile up in the broker."""
    Worker.objects.create(name="mine", does="short,training", beat_at=timezone.now())
    items_changed.send(sender=Item, item_ids=["mug"])
    runs.request_run(trigger="admin")
    assert sent == []
    Worker.objects.update(does="training")
    tasks._follow_wanted(None, jobs.ENCODE)
    assert sent == [("recommender.encode_items", ())]


@pytest.mark.django_db
def test_chunks_that_cannot_be_sent_are_done_at_once(monkeypatch):
    assigned = []
    monkeypatch.setattr(tasks, "publish", lambda *_, **__: False)
    monkeypatch.setattr(tasks.segmentation, "refresh_segments", lambda: 0)
    monkeypatch.setattr(tasks.segmentation, "chunks", lambda: [(1, 500), (501, 900)])
    monkeypatch.setattr(tasks.segmentation, "assign_segments", lambda *chunk: assigned.append(chunk))
    tasks.refresh_segments()
    assert assigned == [(1, 500), (501, 900)]


@pytest.mark.django_db
def test_every_message_expires_and_waits_for_the_saves_that_it_stands_for(monkeypatch):
    options = []
    monkeypatch.setattr(tasks, "_send", lambda app, name, args, **given: options.append(given))
    tasks._follow_wanted(None, jobs.ENCODE)
    tasks.publish(tasks.reconcile)
    assert [given["expires"] > 0 for given in options] == [True, True]
    assert options[0]["countdown"] > jobs.ledger.COALESCE_SECONDS
    assert all(entry["options"]["expires"] > 0 for entry in tasks.schedule().values())


def task_of(broken):
    @broken.task(name="some.task", shared=False)
    def some_task():
        raise AssertionError

    return some_task


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//", "filesystem://"])
def test_broker_that_is_down_is_counted_and_never_raises(url, tmp_path):
    down = Celery("down", broker=url, set_as_current=False)
    (tmp_path / "file").write_text("no folder")
    if url == "filesystem://":
        down.conf.broker_transport_options = {"data_folder_out": str(tmp_path / "file" / "queue")}
    started = time.monotonic()
    assert tasks.publish(task_of(down), app=down) is False
    assert time.monotonic() - started < 10
    assert tasks.counts["failed"] == 1


def test_broker_that_never_answers_costs_one_short_wait():
    with socket.create_server(("127.0.0.1", 0)) as server:
        deaf = Celery("deaf", broker=f"redis://127.0.0.1:{server.getsockname()[1]}/0", set_as_current=False)
        task = task_of(deaf)
        started = time.monotonic()
        assert tasks.publish(task, app=deaf) is False
        assert time.monotonic() - started < 10
        started = time.monotonic()
        assert not any(tasks.publish(task, app=deaf) for _ in range(1_000))
        assert time.monotonic() - started < 5
    assert tasks.counts == {"failed": 1, "paused": 1_000}


@pytest.mark.django_db(transaction=True)
def test_save_of_a_product_survives_a_broken_broker(live_demo_shop, monkeypatch):
    def broken(*_, **__):
        raise OSError("no broker")

    monkeypatch.setattr(tasks, "_send", broken)
    jobs.ledger._marked.clear()
    Job.objects.all().delete()  # the marks that filling the shop has left; another within two seconds sends nothing
    product = live_demo_shop.product()
    product.title = "A mug with a new name"
    product.save()
    assert Item.objects.get(item_id=product.stock_code).title == product.title
    assert tasks.counts["failed"] == 1


@pytest.mark.django_db
def test_waiting_runs_are_poked_and_silent_ones_reaped(sent):
    silent = Run.objects.create(state=Run.State.RUNNING, fencing_token=1, heartbeat_at=timezone.now() - dt.timedelta(1))
    tasks.poke_runs()
    assert sent == [("recommender.train", (silent.pk, silent.key))]
    silent.refresh_from_db()
    assert silent.state == Run.State.QUEUED


@pytest.mark.django_db
def test_scheduled_run_is_asked_for_once():
    tasks.start_scheduled_run()
    tasks.start_scheduled_run()
    assert [run.trigger for run in Run.objects.all()] == ["schedule"]


@pytest.mark.django_db
def test_encoding_makes_bundle_0_and_covers_every_kept_bundle(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    tasks.encode_items()
    assert not Bundle.objects.exists()
    add_item()
    tasks.encode_items()
    assert bundles.champion() is not None
    assert ItemVector.objects.count() == 1
    add_item("bag")
    tasks.encode_items()
    assert ItemVector.objects.count() == 2


@pytest.mark.django_db
def test_encoding_without_torch_says_what_to_install(monkeypatch, caplog):
    def missing():
        raise MissingDependency('torch is not installed: pip install "shopreco[ml]"')

    monkeypatch.setattr(bundles, "ensure_champion", missing)
    add_item()
    tasks.encode_items()
    assert 'pip install "shopreco[ml]"' in caplog.text


@pytest.mark.django_db
def test_statistics_are_recomputed_only_after_an_event(demo_shop):
    computed_at = ItemStatistics.objects.order_by("-computed_at").first().computed_at
    Event.objects.update(received_at=computed_at - dt.timedelta(hours=1))
    tasks.refresh_statistics()
    assert ItemStatistics.objects.order_by("-computed_at").first().computed_at == computed_at
    Event.objects.filter(pk=Event.objects.first().pk).update(received_at=timezone.now())
    tasks.refresh_statistics()
    assert ItemStatistics.objects.order_by("-computed_at").first().computed_at > computed_at


@pytest.mark.django_db
def test_events_beyond_the_retention_are_purged(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "RETENTION_DAYS": 30}
    for days in (29, 31):
        Event.objects.create(
            message_id=str(days), type="view_item", item_id="mug", occurred_at=timezone.now() - dt.timedelta(days=days)
        )
    tasks.purge_retention()
    assert list(Event.objects.values_list("message_id", flat=True)) == ["29"]


@pytest.mark.django_db
def test_daily_job_is_done_though_beat_restarts_every_hour(settings):
    """Beat without its file counts a day anew from each start: the database remembers when the job was last started."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "RETENTION_DAYS": 30}
    event = Event.objects.create(message_id="a", type="search", source="api", occurred_at=timezone.now())
    Event.objects.update(occurred_at=timezone.now() - dt.timedelta(days=31))
    tasks.poke_runs()
    assert Event.objects.filter(pk=event.pk).exists(), "the first day begins with the first start"
    Job.objects.filter(name="purge_retention").update(started_at=timezone.now() - dt.timedelta(days=1, hours=1))
    tasks.poke_runs()
    assert Event.objects.filter(pk=event.pk).exists(), "beat has some time to send it"
    Job.objects.filter(name="purge_retention").update(started_at=timezone.now() - dt.timedelta(days=1, hours=3))
    tasks.poke_runs()
    assert not Event.objects.exists()
    assert Job.objects.get(name="purge_retention").started_at > timezone.now() - dt.timedelta(minutes=1)


def test_every_task_of_the_schedule_exists_and_knows_its_queue():
    for entry in tasks.schedule().values():
        assert entry["task"] in app.tasks
        assert app.amqp.router.route({}, entry["task"])["queue"].name == "shopreco-recommender"
    assert app.amqp.router.route({}, "recommender.train")["queue"].name == "shopreco-training"


@pytest.mark.parametrize("routes", [{"recommender.train": {"queue": "gpu"}}, [{"recommender.train": {"queue": "gpu"}}]])
def test_host_may_route_the_training_elsewhere(routes):
    host = Celery("host", set_as_current=False)
    host.conf.task_routes = routes
    tasks._install(host)
    assert host.amqp.router.route({}, "recommender.train")["queue"].name == "gpu"
    assert host.amqp.router.route({}, "recommender.reconcile")["queue"].name == "host-recommender"
    assert tasks.queues(host) == ("host-recommender", "gpu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("myshop", "myshop"), ("my shop/de", "my-shop-de"), (None, "shopreco"), ("config", "shopreco")],
)
def test_queues_carry_the_name_of_the_project(name, expected):
    host = Celery(name, set_as_current=False)
    tasks._install(host)
    assert tasks.queues(host) == (f"{expected}-recommender", f"{expected}-training")


def test_app_that_is_created_later_gets_the_schedule_too():
    late = Celery("late", set_as_current=False)
    late.finalize()
    assert set(tasks.schedule()) <= set(late.conf.beat_schedule)
    assert tasks.queues(late) == ("late-recommender", "late-training")


def test_every_thread_sends_to_the_project_and_never_to_the_app_of_celery(sent):
    """Celery's current app exists per thread: in a thread of gunicorn it is the default app with a default broker."""
    apps = []
    thread = threading.Thread(target=lambda: apps.append(tasks.project_app()))
    thread.start()
    thread.join()
    assert apps == [app]
    assert tasks.project_app() is app


def test_app_without_a_broker_sends_nothing(monkeypatch):
    monkeypatch.setattr(tasks, "_send", lambda *_, **__: pytest.fail("a message was sent"))
    monkeypatch.setattr(tasks, "_apps", lambda: [Celery("host", set_as_current=False)])
    assert tasks.project_app() is None
    assert tasks.publish(tasks.reconcile) is False
    assert tasks.counts == {"unsent": 1}
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
    assert tasks.project_app().main == "host"


@pytest.mark.django_db(transaction=True)
def test_message_of_another_shop_starts_no_run(monkeypatch):
    """The number belongs to a run of this shop, the key does not."""
    monkeypatch.setattr(supervision, "start_process", lambda *_, **__: pytest.fail("started"))
    run = runs.request_run(trigger="here")
    tasks.train(run.pk, "0" * 32)
    run.refresh_from_db()
    assert (run.state, run.fencing_token) == (Run.State.QUEUED, 0)


def test_training_schedule_is_a_setting(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_SCHEDULE": ("30", "4", "sun")}
    assert tasks.schedule()["recommender.start_scheduled_run"]["schedule"] == crontab("30", "4", "sun")
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_SCHEDULE": None}
    assert "recommender.start_scheduled_run" not in tasks.schedule()


def test_host_gets_the_schedule_without_a_line_and_may_override_it():
    entries = {name: {**entry} for name, entry in app.conf.beat_schedule.items()}
    assert set(tasks.schedule()) <= set(entries)
    host = Celery("host", set_as_current=False)
    mine = {"task": "recommender.poke_runs", "schedule": 5}
    host.conf.beat_schedule = {"recommender.poke_runs": mine}
    tasks._install(host)
    assert host.conf.beat_schedule["recommender.poke_runs"] == mine
    assert "recommender.encode_items" in host.conf.beat_schedule


@pytest.mark.django_db(transaction=True)
def test_second_message_for_the_same_run_does_nothing(monkeypatch):
    monkeypatch.setattr(supervision, "start_process", lambda *_, **__: pytest.fail("started twice"))
    run = runs.request_run(trigger="here")
    runs.lease(run.pk, worker="first")
    tasks.train(run.pk, run.key)


@pytest.mark.django_db(transaction=True)
def test_command_trains_here_in_a_subprocess_and_prints_the_reason(live_demo_shop, settings, capsys, monkeypatch):
    """The whole way without a worker: command, lease, subprocess, figures, table."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch", "TRAINING_MINUTES": 0.05}
    request = runs.request_run

    def of_few_steps(*, settings, **options):
        """In three seconds a busy machine takes one step, which would end the run before its table."""
        return request(settings={**settings, "least_steps": 0}, **options)

    monkeypatch.setattr(runs, "request_run", of_few_steps)
    bundles.ensure_champion()  # the subprocess reads the settings of the project, not those of this test
    call_command("recommender_train", "--here")
    run = Run.objects.get()
    assert run.state == Run.State.SUCCEEDED, run.reason
    output = capsys.readouterr().out
    assert "Items new to the shopper" in output
    for name in ("* ranker", "own frequency", "item knn", "untuned encoder", "champion"):
        assert name in output
    assert run.reason in output


@pytest.mark.django_db(transaction=True)
def test_command_that_does_not_wait_leaves_a_queued_run(sent, capsys):
    call_command("recommender_train", "--no-wait")
    run = Run.objects.get()
    assert run.state == Run.State.QUEUED
    assert sent == [("recommender.train", (run.pk, run.key))]
    with pytest.raises(CommandError, match=f"Run {run.pk} is queued"):
        call_command("recommender_train")
    call_command("recommender_train", "--cancel")
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED
    with pytest.raises(CommandError, match="nothing to cancel"):
        call_command("recommender_train", "--cancel")


@pytest.mark.django_db(transaction=True)
def test_command_says_how_to_start_a_worker_and_fails_with_the_run(sent, monkeypatch, capsys):
    from recommender.management import following

    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.1)

    def end_soon():
        wait_for(lambda: "No worker took the run" in "".join(heard), what="the hint")
        Run.objects.update(state=Run.State.FAILED, reason="It was planted.")

    heard = []

    class Listener:
        def write(self, text):
            heard.append(text)

        def isatty(self):
            return False

    thread = threading.Thread(target=_closing(end_soon))
    thread.start()
    with pytest.raises(CommandError, match="It was planted"):
        call_command("recommender_train", stderr=Listener())
    thread.join()
    assert "celery -A shopreco worker --queues shopreco-training --pool solo" in "".join(heard)
    assert "--here" in "".join(heard)


def _closing(act):
    from django.db import connection

    def work():
        try:
            act()
        finally:
            connection.close()

    return work


def test_web_process_that_knows_the_tasks_does_not_load_torch():
    code = (
        "import django; django.setup(); import recommender.tasks, sys; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'recommender.training')))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shopreco.settings"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
