"""The demo's data become a shop: titles, times, stock, departments; and the demo's processes."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone

from recommender.models import Item, ItemStatistics, ItemVector, Run, Visitor
from shopreco.shop import demo, loading
from shopreco.shop.departments import group, name_groups, regroup
from shopreco.shop.margins import invented_margin
from shopreco.shop.models import Customer, Department, Order, OrderLine, Product
from shopreco.shop.processes import Children
from shopreco.shop.tiles import DECORATIONS, PATTERNS, THINGS, tile
from shopreco.shop.titles import readable

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
LONDON = ZoneInfo("Europe/London")


def test_invented_margin_is_a_share_of_the_price_and_always_the_same() -> None:
    shares = [invented_margin(f"code {number}", Decimal(100)) / 100 for number in range(1_000)]
    assert min(shares) >= Decimal("0.15")
    assert max(shares) <= Decimal("0.6")
    assert sum(shares) / 1_000 == pytest.approx(Decimal("0.375"), abs=Decimal("0.01"))
    assert invented_margin("22423", Decimal("10.95")) == Decimal("3.08")


@pytest.fixture
def small_shop(db: None) -> loading.LoadReport:
    return loading.load(n_customers=12, seed=3, now=NOW)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", "White Hanging Heart T-Light Holder"),
        ("JEWELLERY BOX S/3", "Jewellery Box Set of 3"),
        ("SET/20 STRAWBERRY PAPER NAPKINS", "Set of 20 Strawberry Paper Napkins"),
        ("DUSTY PINK CHRISTMAS TREE 30CM", "Dusty Pink Christmas Tree 30cm"),
        ("WHITE SPOT BLUE CERAMIC DRAWER KNOB & HOOK", "White Spot Blue Ceramic Drawer Knob & Hook"),
        ("DOLLY MIXTURE CHILDREN'S UMBRELLA", "Dolly Mixture Children's Umbrella"),
        ("JUMBO BAG 50'S CHRISTMAS", "Jumbo Bag 50's Christmas"),
        ("NEW BAROQUE B'FLY NECKLACE RED", "New Baroque Butterfly Necklace Red"),
        ("AIRLINE LOUNGE,METAL SIGN", "Airline Lounge, Metal Sign"),
        ("CHARLIE+LOLA MY ROOM DOOR SIGN", "Charlie + Lola My Room Door Sign"),
        ("ASSTD DESIGN 3D PAPER STICKERS", "Assorted Design 3D Paper Stickers"),
        ("VINTAGE UNION JACK TV DINNER TRAY", "Vintage Union Jack TV Dinner Tray"),
        ('LETTER "A" BLING KEY RING', 'Letter "A" Bling Key Ring'),
        ("BAG 125g SWIRLY MARBLES", "Bag 125g Swirly Marbles"),
        ("*USB Office Mirror Ball", "USB Office Mirror Ball"),
    ],
)
def test_title_in_capitals_becomes_readable(written: str, read: str) -> None:
    assert readable(written) == read


def test_readable_title_stays_as_it_is() -> None:
    for title in (item["title"] for item in loading._read_items()):
        assert readable(readable(title)).lower() == readable(title).lower()


def test_sample_is_a_whole_small_shop(small_shop: loading.LoadReport) -> None:
    assert Customer.objects.count() == small_shop.n_customers <= 12
    assert Product.objects.count() == small_shop.n_products == 24
    assert Order.objects.count() == small_shop.n_orders > 50
    assert OrderLine.objects.count() == small_shop.n_lines > 100
    assert Order.objects.filter(customer=None).exists()
    assert not Order.objects.filter(lines=None).exists()


def test_sample_depends_on_its_seed_only(db: None) -> None:
    lines = list(loading._read_lines())

    def codes(seed: int) -> Counter[str]:
        sampled = loading._sample(lines, n_customers=5, n_products=9, seed=seed)
        return Counter(line.order for line in sampled)

    assert codes(1) == codes(1)
    assert codes(1) != codes(2)


def test_newest_order_is_less_than_a_week_old_and_weekdays_stay(small_shop: loading.LoadReport) -> None:
    shift = loading._shift_to(NOW, newest=max(line.at for line in loading._read_lines()))
    moved = loading._aware(max(line.at for line in loading._read_lines()), shift)
    assert dt.timedelta(0) <= NOW - moved < dt.timedelta(days=7)
    assert shift % dt.timedelta(weeks=1) == dt.timedelta(0)
    recorded = {line.order: line.at for line in reversed(list(loading._read_lines()))}
    for order in Order.objects.all()[:200]:
        before = dt.datetime.fromisoformat(recorded[order.number])
        after = order.placed_at.astimezone(LONDON)
        assert (before.weekday(), before.hour, before.minute) == (after.weekday(), after.hour, after.minute)


def test_no_order_lies_in_the_future(small_shop: loading.LoadReport) -> None:
    assert not Order.objects.filter(placed_at__gt=NOW).exists()


def test_second_load_writes_nothing_and_says_so(small_shop: loading.LoadReport, capsys: Any) -> None:
    before = OrderLine.objects.count()
    assert loading.load(n_customers=3).was_loaded
    call_command("demo_load")
    assert OrderLine.objects.count() == before
    assert "already loaded" in capsys.readouterr().out


def test_load_that_fails_leaves_an_empty_shop(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(keys: list[str]) -> int:
        raise RuntimeError("no consent table")

    monkeypatch.setattr(loading, "grant_consent", fail)
    with pytest.raises(RuntimeError):
        loading.load(n_customers=3)
    assert not Product.objects.exists()


def test_customers_have_consented_and_cannot_log_in_by_password(small_shop: loading.LoadReport) -> None:
    users = get_user_model().objects.filter(username__startswith="or-")
    assert len(users) == small_shop.n_customers
    assert not any(user.has_usable_password() for user in users)
    keys = {str(user.pk) for user in users}
    assert set(Visitor.objects.filter(has_consented=True).values_list("user_key", flat=True)) == keys


def test_cancellations_are_orders_that_came_back(small_shop: loading.LoadReport) -> None:
    numbers = set(Order.objects.filter(is_cancellation=True).values_list("number", flat=True))
    assert numbers
    assert all(number.startswith("C") for number in numbers)
    assert not OrderLine.objects.filter(quantity__lte=0).exists()


def test_products_have_a_price_and_stock_or_are_hidden(small_shop: loading.LoadReport) -> None:
    lines = list(loading._read_lines())
    products = list(loading._products(loading._read_items(), lines, dt.timedelta()))
    assert len(products) == 3766
    assert all(product.price > 0 for product in products if product.is_visible)
    assert {product.title for product in products if not product.price} <= {
        product.title for product in products if not product.is_visible
    }
    assert "Next Day Carriage" not in {product.title for product in products if product.is_visible}
    assert sum(product.is_visible for product in products) > 3700


PLANTED = {
    "mug": ["Red Mug", "Blue Tea Mug", "Big Mugs of Tea", "Mug"],
    "lamp": ["Floor Lamp", "Lamp with Shade", "Table Lamps Shade", "Desk Lamp"],
    "card": ["Birthday Card", "Card for a Birthday", "Thank You Cards", "Card"],
}


def planted(*, noise: float = 0.05) -> tuple[Any, list[str], list[str]]:
    """Unit vectors around one axis per kind, their titles and their kinds."""
    chance = np.random.default_rng(7)
    kinds = [kind for kind, titles in PLANTED.items() for _ in range(len(titles) * 10)]
    titles = [title for titles in PLANTED.values() for title in titles * 10]
    axis = np.eye(8, dtype=np.float32)[[list(PLANTED).index(kind) for kind in kinds]]
    vectors = axis + chance.normal(0, noise, axis.shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), titles, kinds


def test_planted_groups_are_found_and_named_from_their_words() -> None:
    vectors, titles, kinds = planted()
    groups = group(vectors, titles, n_groups=3)
    assert [{kinds[row] for row in department.rows} for department in groups] == [{"card"}, {"lamp"}, {"mug"}]
    assert [department.name for department in groups] == ["Cards & Birthday", "Lamps & Shades", "Mugs & Tea"]


def test_grouping_is_the_same_for_the_same_seed() -> None:
    vectors, titles, _ = planted(noise=0.6)
    first, second = (group(vectors, titles, n_groups=5, seed=1) for _ in range(2))
    assert [department.name for department in first] == [department.name for department in second]
    assert all(np.array_equal(department.rows, other.rows) for department, other in zip(first, second, strict=True))


def test_every_row_is_in_one_group_even_with_more_groups_than_rows() -> None:
    vectors, titles, _ = planted()
    groups = group(vectors[:2], titles[:2], n_groups=9)
    assert sorted(row for department in groups for row in department.rows.tolist()) == [0, 1]


def test_no_two_groups_share_a_name() -> None:
    names = name_groups([["Red Mug"] * 5, ["Blue Mug"] * 4, ["Mug"] * 3, [""]])
    assert len(set(names)) == 4


def test_regroup_writes_departments_and_tells_the_products(small_shop: loading.LoadReport) -> None:
    call_command("recommender_sync", "--no-vectors")
    chance = np.random.default_rng(0)
    for item in Item.objects.all():
        vector = chance.normal(size=16).astype("<f4")
        vector /= np.linalg.norm(vector)
        ItemVector.objects.create(item=item, encoder_hash="e", text_hash=item.text_hash, vector=vector.tobytes())
    report = regroup(n_groups=4)
    assert Department.objects.count() == len(report.names) == 4
    assert not Product.objects.filter(is_visible=True, department=None).exists()
    call_command("demo_departments", "--groups", "3")
    assert Department.objects.count() == 3
    assert set(Item.objects.values_list("category", flat=True)) == {name.name for name in Department.objects.all()}


def test_regroup_without_vectors_leaves_the_shop_as_it_is(small_shop: loading.LoadReport, capsys: Any) -> None:
    call_command("demo_departments")
    assert not Department.objects.exists()
    assert "recommender_sync" in capsys.readouterr().err


def test_absurd_number_of_departments_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="1 to 100"):
        call_command("demo_departments", "--groups", "0")


@pytest.mark.parametrize(
    ("title", "motif", "tone", "pattern"),
    [
        ("Red Retrospot Mug", "mug", "red", "dots"),
        ("Pink Gingham Cake Tin", "tin", "pink", "checks"),
        ("New England Mug with Gift Box", "mug", None, ""),
        ("Ivory Heart", "heart", "cream", ""),
        ("Zzyzx", "", None, ""),
    ],
)
def test_tile_shows_thing_colour_and_pattern(title: str, motif: str, tone: str | None, pattern: str) -> None:
    drawn = tile(title)
    assert (drawn.motif, drawn.pattern) == (motif, pattern)
    assert tone is None or drawn.tone == tone
    assert drawn == tile(title)


def test_every_motif_is_drawn_in_the_sprite() -> None:
    sprite = (ROOT / "shopreco/shop/static/shop/motifs.svg").read_text()
    for name in (*THINGS, *DECORATIONS, *PATTERNS):
        assert f'<symbol id="{name}"' in sprite


def test_step_that_is_done_is_skipped() -> None:
    messages: list[str] = []
    done: list[str] = []
    demo.run_step(demo.Step("First", lambda: True, lambda: done.append("first")), messages.append)
    demo.run_step(demo.Step("Second", lambda: False, lambda: done.append("second")), messages.append)
    assert done == ["second"]
    assert messages[0] == "- First: there already"


@pytest.mark.django_db
def test_longer_training_is_queued_once_behind_the_first() -> None:
    messages: list[str] = []
    demo.train_longer(messages.append)
    assert not Run.objects.exists()
    Run.objects.create(state=Run.State.SUCCEEDED)
    demo.train_longer(messages.append)
    demo.train_longer(messages.append)
    waiting = Run.objects.get(state=Run.State.QUEUED)
    assert waiting.settings["minutes"] == demo.LONGER_MINUTES
    assert len(messages) == 1


def test_orders_count_as_recorded_only_when_the_newest_line_is(small_shop: loading.LoadReport) -> None:
    assert not demo.are_orders_recorded()
    call_command("recommender_reconcile")
    assert demo.are_orders_recorded()


def test_taken_port_is_refused_with_another_one_to_try() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind((demo.HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CommandError, match=f"--port {port + 1}"):
            demo.check_port(port)


def test_children_end_with_their_block_even_those_that_ignore_the_first_signal(tmp_path: Path) -> None:
    stubborn = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stubborn!r}])"
    with Children(tmp_path, grace_seconds=0.5) as children:
        child = children.start("stubborn", [sys.executable, "-c", parent])
        _wait_for(lambda: "up" in child.log.read_text())
        group_id = child.process.pid
    _wait_for(lambda: not _is_alive(group_id))


@pytest.mark.django_db
def test_items_can_be_synced_without_statistics(small_shop: loading.LoadReport) -> None:
    call_command("recommender_sync", "--no-vectors", "--no-statistics")
    assert Item.objects.exists()
    assert not ItemStatistics.objects.exists()


SLOW_START = """
import sys, time
for step in range(6):
    {sign}
    time.sleep(0.2)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "sign", ["print(step, flush=True)", "end = time.process_time() + 1.2\n    while time.process_time() < end: pass"]
)
def test_slow_start_is_waited_for_while_it_makes_progress(
    sign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "STALL_SECONDS", 20.0 if "process_time" in sign else 3.0)
    monkeypatch.setattr(demo, "WORD_SECONDS", 0.3)
    messages: list[str] = []
    with Children(tmp_path, grace_seconds=1) as children:
        child = children.start("slow", [sys.executable, "-c", SLOW_START.format(sign=sign)])
        before = child.progress()
        demo._wait_until(lambda: "ready" in child.log.read_text(), child, messages.append)
        assert child.progress() > before
    assert "waiting for slow to start" in messages[0]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import time; time.sleep(60)", "neither computed nor written"),
        ("raise SystemExit('no port')", "code 1: no port"),
    ],
)
def test_start_that_hangs_or_ends_is_told(code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STALL_SECONDS", 3.0)
    with Children(tmp_path, grace_seconds=1) as children, pytest.raises(CommandError, match=why):
        demo._wait_until(lambda: False, children.start("web", [sys.executable, "-c", code]), print)


def test_children_end_when_the_parent_is_terminated(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from shopreco.shop import demo\n"
        "from shopreco.shop.processes import Children\n"
        "with demo.interruptible(), Children(Path(sys.argv[1])) as children:\n"
        "    print(children.start('sleeper', ['sleep', '60']).process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    bootstrap = "import django; django.setup()\n" + script
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shopreco.settings", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", bootstrap, str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert not _is_alive(child)


def _is_alive(group_id: int) -> bool:
    try:
        os.killpg(group_id, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_for(is_true: Any, *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_times_of_the_sample_default_to_now(db: None) -> None:
    loading.load(n_customers=3)
    assert not Order.objects.filter(placed_at__gt=timezone.now()).exists()
