"""The page is never broken, never slower and never another visitor's: cookies, caches, storing after the response."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import OperationalError, connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils.cache import patch_cache_control
from django.views.decorators.cache import cache_page

from recommender import capture, identity, middleware
from recommender.capture import storage, visitors
from recommender.catalog import Catalog
from recommender.identity import shopper_of
from recommender.middleware import RecommenderMiddleware
from recommender.models import Event, Impression, Visitor
from recommender.tracking import page, track_pages
from recommender.types import Entry, Ranking, Rung, Slot
from shopreco.shop.models import Customer, Product
from tests.capture.drafts import NEW_VISITORS

pytestmark = pytest.mark.django_db


CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def ranking_of(*item_ids: str) -> Ranking:
    entries = tuple(Entry(item_id, position, 1.0) for position, item_id in enumerate(item_ids, 1))
    return Ranking(uuid.uuid4(), Slot.HOME, entries, Rung.POPULARITY)


def plain(request: Any, stock_code: str) -> HttpResponse:
    return HttpResponse(stock_code)


def listed(request: Any, stock_code: str) -> HttpResponse:
    """A page that shows a list and, by `?cache=`, what the view says to caches."""
    capture.record_impression(request, ranking_of("a", "b"))
    response = HttpResponse(f"{stock_code} for {shopper_of(request).visitor_key}")
    if "cache" in request.GET:
        response["Cache-Control"] = request.GET["cache"]
    return response


def shared(request: Any, stock_code: str) -> HttpResponse:
    response = HttpResponse(stock_code)
    patch_cache_control(response, public=True, max_age=60)
    return response


def streamed(request: Any, stock_code: str) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield b"a"
        yield str(Event.objects.count()).encode()

    return StreamingHttpResponse(parts())


def broken(request: Any, stock_code: str) -> HttpResponse:
    raise RuntimeError("the view failed")


def refusing(request: Any, stock_code: str) -> HttpResponse:
    response = HttpResponse(stock_code)
    response.set_cookie("recommender_consent", "denied")
    return response


async def awaited(request: Any, stock_code: str) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(stock_code)


urlpatterns = [
    path("plain/<stock_code>/", plain, name="plain"),
    path("other/<stock_code>/", plain, name="other"),
    path("listed/<stock_code>/", listed, name="listed"),
    path("cached/<stock_code>/", cache_page(60)(listed), name="cached"),
    path("shared/<stock_code>/", shared, name="shared"),
    path("streamed/<stock_code>/", streamed, name="streamed"),
    path("broken/<stock_code>/", broken, name="broken"),
    path("refusing/<stock_code>/", refusing, name="refusing"),
    path("awaited/<stock_code>/", awaited, name="awaited"),
]


@pytest.fixture(autouse=True)
def _pages(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = __name__
    # Django's own adds `Vary: Accept-Language` to every page; here every header is ours.
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != "django.middleware.locale.LocaleMiddleware"]
    monkeypatch.setattr("recommender.tracking._pages", {})
    monkeypatch.setattr(middleware, "_complaints", set())
    visitors.forget_visitors()
    tracked = ("plain", "listed", "cached", "shared", "streamed", "broken", "refusing", "awaited")
    track_pages(*(page(name, "view_item", item_id="kwargs.stock_code") for name in tracked))


def browser(consent: str | None = "granted", key: uuid.UUID | None = None, **headers: str) -> Client:
    client = Client(headers={"user-agent": CHROME, **headers})
    if consent is not None:
        client.cookies["recommender_consent"] = consent
    if key is not None:
        client.cookies["recommender_visitor"] = identity.cookie_for(key)
    return client


def key_of(response: Any) -> uuid.UUID | None:
    cookie = response.cookies.get("recommender_visitor")
    return identity.visitor_key_from_cookie(cookie.value) if cookie else None


def read_or_write(context: CaptureQueriesContext) -> list[str]:
    frames = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [query["sql"] for query in context.captured_queries if not query["sql"].startswith(frames)]


def test_first_page_after_consent_sets_the_signed_cookie_and_records_the_view() -> None:
    response = browser().get("/plain/mug/")
    cookie = response.cookies["recommender_visitor"]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", "")
    assert int(cookie["max-age"]) == 365 * 86_400
    assert response["Vary"] == "Cookie"
    event = Event.objects.select_related("visitor").get()
    assert (event.type, event.item_id, event.device) == ("view_item", "mug", "desktop")
    assert event.visitor is not None
    assert event.visitor.key == key_of(response)


def test_cookie_is_secure_on_a_secure_page() -> None:
    assert browser().get("/plain/mug/", secure=True).cookies["recommender_visitor"]["secure"] is True


def test_later_pages_set_nothing_and_stay_cacheable() -> None:
    key = uuid.uuid4()
    response = browser(key=key).get("/plain/mug/")
    assert not response.cookies
    assert not response.has_header("Vary")
    assert Event.objects.get().visitor == Visitor.objects.get(key=key)


@pytest.mark.parametrize("consent", [None, "denied"])
def test_before_consent_there_is_no_cookie_no_id_and_no_row(consent: str | None) -> None:
    response = browser(consent).get("/listed/mug/")
    assert not response.cookies
    assert [model.objects.count() for model in (Event, Impression, Visitor)] == [0, 0, 0]


def test_page_that_is_not_tracked_is_left_as_it_is() -> None:
    response = browser().get("/other/mug/")
    assert not response.cookies
    assert not response.has_header("Vary")
    assert response._resource_closers == []
    assert not Event.objects.exists()


def test_forged_cookie_gets_a_fresh_one() -> None:
    client = browser()
    for forged in (uuid.uuid4().hex + ":forged", "x" * 9000, '"\\000"', "é"):
        client.cookies["recommender_visitor"] = forged
        response = client.get("/plain/mug/")
        assert response.status_code == 200
        assert key_of(response) is not None


def test_withdrawn_consent_takes_the_cookie_back() -> None:
    response = browser("denied", key=uuid.uuid4()).get("/other/mug/")
    assert response.cookies["recommender_visitor"]["max-age"] == 0
    assert not Event.objects.exists()


def test_answer_that_refuses_takes_the_cookie_with_it() -> None:
    response = browser(key=uuid.uuid4()).get("/refusing/mug/")
    assert response.cookies["recommender_visitor"]["max-age"] == 0
    assert "recommender_visitor" not in browser().get("/refusing/mug/").cookies


def test_crawler_is_neither_given_an_id_nor_counted_as_a_person(settings: Any) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "CONSENT": lambda request: True}
    response = browser(None, **{"user-agent": GOOGLEBOT}).get("/plain/mug/")
    assert not response.cookies
    event = Event.objects.get()
    assert (event.is_bot, event.visitor) == (True, None)


def test_app_with_a_token_is_given_no_cookie() -> None:
    app = Visitor.objects.create()
    response = browser(authorization=f"Visitor {identity.token_for(app.key)}").get("/plain/mug/")
    assert not response.cookies
    assert (Event.objects.get().visitor, Event.objects.get().source) == (app, "api")
    denied = browser("denied", key=uuid.uuid4(), authorization=f"Visitor {identity.token_for(app.key)}")
    assert not denied.get("/plain/mug/").cookies


def test_prefetched_page_is_flagged() -> None:
    browser(key=uuid.uuid4(), **{"sec-purpose": "prefetch;prerender"}).get("/plain/mug/")
    assert Event.objects.get().is_bot


def test_global_privacy_control_makes_a_visitor_without_a_profile() -> None:
    response = browser(**{"sec-gpc": "1"}).get("/plain/mug/")
    assert Visitor.objects.get(key=key_of(response)).is_profiled is False


def test_page_for_shared_caches_gets_no_cookie() -> None:
    response = browser().get("/shared/mug/")
    assert not response.cookies
    assert Event.objects.get().visitor is None
    key = uuid.uuid4()
    browser(key=key).get("/shared/mug/")
    assert Visitor.objects.get().key == key


@pytest.mark.parametrize(
    ("said", "directives"),
    [
        (None, {"private"}),
        ("public, max-age=60", {"max-age=60", "private"}),
        ("s-maxage=60", {"private"}),
        ("no-store", {"no-store"}),
        ("private, max-age=5", {"private", "max-age=5"}),
    ],
)
def test_page_with_a_list_is_for_one_browser_only(said: str | None, directives: set[str]) -> None:
    response = browser().get("/listed/mug/", {"cache": said} if said else {})
    assert set(response["Cache-Control"].split(", ")) == directives
    assert response["Vary"] == "Cookie"


def test_cached_page_never_serves_one_visitor_to_another() -> None:
    cache.clear()
    one, other = uuid.uuid4(), uuid.uuid4()
    assert str(one) in browser(key=one).get("/cached/mug/").content.decode()
    assert str(other) in browser(key=other).get("/cached/mug/").content.decode()


def queries_around(client: Client, url: str) -> tuple[list[str], list[str]]:
    """The statements before the response is out, and those after."""
    request = RequestFactory().get(url, headers={"user-agent": CHROME})
    request.COOKIES = {name: morsel.value for name, morsel in client.cookies.items()}
    from django.core.handlers.wsgi import WSGIHandler

    handler = WSGIHandler()
    with CaptureQueriesContext(connection) as before:
        response = handler.get_response(request)
    with CaptureQueriesContext(connection) as after:
        for closer in response._resource_closers:
            closer()
    return read_or_write(before), read_or_write(after)


def test_nothing_is_asked_before_the_response_and_two_statements_after_it() -> None:
    client = browser(key=uuid.uuid4())
    before, first = queries_around(client, "/listed/mug/")
    assert before == []
    assert sum("INSERT INTO" in sql for sql in first) == 3
    assert len(first) == 3 + NEW_VISITORS
    before, later = queries_around(client, "/listed/mug/")
    assert before == []
    assert len(later) == 2
    assert "recommender_event" in later[0]
    assert "recommender_impression" in later[1]
    assert queries_around(client, "/other/mug/") == ([], [])


def test_key_of_an_object_is_looked_up_by_one_query_after_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": Catalog("shop.Product")})
    mug = Product.objects.create(stock_code="mug", title="Mug", price=3)
    client = browser(key=uuid.uuid4())
    queries_around(client, "/plain/mug/")
    before, after = queries_around(client, "/plain/mug/")
    assert before == []
    assert ["shop_product" in sql for sql in after] == [True, False]
    assert set(Event.objects.values_list("item_id", flat=True)) == {f"product:{mug.pk}"}


def test_without_consent_nothing_is_asked_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert queries_around(browser(None), "/listed/mug/") == ([], [])
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": Catalog("shop.Product")})
    assert queries_around(browser(None), "/plain/mug/") == ([], [])


def test_broken_database_never_breaks_a_page_and_is_logged_once(monkeypatch: Any, caplog: Any) -> None:
    def locked(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError("database is locked")

    monkeypatch.setattr(storage, "store", locked)
    monkeypatch.setattr(capture, "store", locked)
    n_failed = capture.counts["failed"]
    client = browser()
    for _ in range(3):
        assert client.get("/plain/mug/").content == b"mug"
    assert capture.counts["failed"] == n_failed + 3
    logged = [
        record for record in caplog.records if record.name == "recommender.middleware" and record.levelname == "ERROR"
    ]
    assert len(logged) == 1
    assert "not stored" in logged[0].getMessage()


def test_failing_page_declaration_never_breaks_a_page(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr("recommender.tracking._pages", None)
    assert browser().get("/plain/mug/").content == b"mug"
    assert "events of a page" in caplog.text


def test_failing_signature_never_breaks_a_page(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr("recommender.identity.cookies.cookie_for", lambda key: 1 / 0)
    assert browser().get("/plain/mug/").content == b"mug"
    assert "without its visitor's cookie" in caplog.text


def test_page_that_fails_is_no_view() -> None:
    client = browser()
    client.raise_request_exception = False
    assert client.get("/broken/mug/").status_code == 500
    assert not Event.objects.exists()


def test_streamed_page_is_recorded_after_its_last_byte() -> None:
    response: Any = browser().get("/streamed/mug/")
    assert b"".join(response.streaming_content) == b"a0"
    assert Event.objects.get().item_id == "mug"


@pytest.mark.django_db(transaction=True)
def test_asynchronous_stack_records_both_kinds_of_views(monkeypatch: Any) -> None:
    store = middleware._store

    def store_and_hang_up(request: Any) -> None:
        """Django's asynchronous test client ends a response in a thread of its own and leaves its connection open."""
        store(request)
        connections.close_all()

    monkeypatch.setattr(middleware, "_store", store_and_hang_up)

    async def visit() -> list[Any]:
        client = AsyncClient(headers={"user-agent": CHROME})
        client.cookies["recommender_consent"] = "granted"
        pages = [await client.get(page) for page in ("/plain/mug/", "/awaited/bowl/", "/listed/cup/")]
        await sync_to_async(connections.close_all)()
        return pages

    first, second, third = asyncio.run(visit())
    assert key_of(first) is not None
    assert (second.content, key_of(second)) == (b"bowl", None)
    assert sorted(Event.objects.values_list("item_id", flat=True)) == ["bowl", "cup", "mug"]
    assert Impression.objects.get().visitor == Visitor.objects.get(key=key_of(first))
    assert "private" in third["Cache-Control"]


def test_kind_of_stack_is_decided_once() -> None:
    async def next_async(request: Any) -> HttpResponse:
        return HttpResponse()

    assert RecommenderMiddleware(next_async).is_async
    assert not RecommenderMiddleware(lambda request: HttpResponse()).is_async


def test_request_in_progress_is_known_only_while_it_lasts() -> None:
    seen = []

    def view(request: Any) -> HttpResponse:
        seen.append(capture.current_request.get())
        return HttpResponse()

    request: Any = RequestFactory().get("/")
    request.resolver_match = None
    RecommenderMiddleware(view)(request)
    assert seen == [request]
    assert capture.current_request.get() is None


@pytest.fixture
def shop(settings: Any) -> Any:
    settings.ROOT_URLCONF = "shopreco.urls"
    track_pages(page("shop:product", "view_item", item_id="kwargs.stock_code"))
    Product.objects.create(stock_code="mug", title="Mug", price=3, stock=5)
    return settings


def test_login_and_logout_in_the_demo_shop_link_and_part(shop: Any, django_user_model: Any) -> None:
    for name in ("ada", "grace"):
        Customer.objects.create(user=django_user_model.objects.create(username=name), code=name)
    ada, grace = (str(customer.user_id) for customer in Customer.objects.order_by("code"))
    client = browser()
    anonymous = key_of(client.get("/item/mug/"))
    assert key_of(client.post("/sign-in/", {"code": "ada"})) is None
    assert Visitor.objects.get(key=anonymous).user_key == ada
    after_logout = key_of(client.post("/sign-out/"))
    assert after_logout not in (None, anonymous)
    client.get("/item/mug/")
    assert Visitor.objects.get(key=after_logout).user_key is None
    client.post("/sign-in/", {"code": "grace"})
    assert Visitor.objects.get(key=after_logout).user_key == grace
    client.cookies["recommender_visitor"] = identity.cookie_for(anonymous)  # type: ignore[arg-type]
    assert key_of(client.post("/sign-in/", {"code": "grace"})) not in (None, anonymous)
    assert Visitor.objects.get(key=anonymous).user_key == ada


def test_static_files_and_admin_are_left_alone(shop: Any) -> None:
    client = browser()
    assert "recommender_visitor" not in client.get("/admin/login/").cookies
    assert not Event.objects.exists()
