"""The tags in a page: what they show, what they record, what they cost, and that they never take the page with them."""

from __future__ import annotations

import re
import uuid
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.template import Context, RequestContext, Template, TemplateSyntaxError, engines
from django.test import Client, RequestFactory
from django.utils import translation
from django.views.decorators.cache import cache_page

from recommender import capture, pipeline, serving
from recommender.identity import cookie_for, shopper_of
from recommender.models import Impression, Item, ItemStatistics, Visitor
from recommender.templatetags.recommender import TITLES, item_link, money
from recommender.types import Entry, Live, OfferedFilter, Ranking, Rung, Slot
from tests.conftest import DemoShop, assert_queries, request_of

pytestmark = pytest.mark.django_db


class Tags(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def having(self, attribute: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if attribute in attributes]


@pytest.fixture
def request_(demo_shop: DemoShop) -> HttpRequest:
    """A page asked for by a visitor who has agreed."""
    request: HttpRequest = request_of()
    return request


def drawn(text: str, request: HttpRequest | None = None, **values: Any) -> str:
    template = Template("{% load recommender %}" + text)
    context = Context(values) if request is None else RequestContext(request, {"request": request, **values})
    return str(template.render(context))


def ranking_of(url: str = "/item/1/") -> Ranking:
    entry = Entry("1", 3, 0.5, live=Live("Mug", url=url, price=Decimal("1234.5"), currency="GBP"))
    return Ranking(uuid.UUID(int=7), Slot.HOME, (entry,), Rung.POPULARITY)


class TestRecommend:
    def test_ranking_is_given_to_the_template(self, request_: HttpRequest) -> None:
        html = drawn(
            '{% recommend "trending" limit=3 as ranking %}{% for entry in ranking %}'
            "<b>{{ entry.position }}:{{ entry.live.object.stock_code }}</b>{% endfor %}{{ ranking.rung }}",
            request_,
        )
        assert re.findall(r"<b>(\d):", html) == ["1", "2", "3"]
        assert "popularity" in html

    def test_item_may_be_an_object_or_an_id(self, request_: HttpRequest, demo_shop: DemoShop) -> None:
        product = demo_shop.product()
        text = '{% recommend "similar" item=product limit=4 as list %}{% for e in list %}{{ e.item_id }} {% endfor %}'
        by_object = drawn(text, request_, product=product)
        by_id = drawn(text, request_of(), product=product.stock_code)
        assert by_object == by_id != ""
        assert product.stock_code not in by_object.split()

    def test_cart_may_be_ids_or_objects_or_one_text(
        self, request_: HttpRequest, demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        carts: list[Any] = []
        real = pipeline.recommend
        monkeypatch.setattr(
            pipeline, "recommend", lambda *args, **kw: carts.append(kw["cart_item_ids"]) or real(*args, **kw)
        )
        first, second = demo_shop.product(0), demo_shop.product(1)
        for cart in (
            [first.stock_code, second.stock_code],
            [first, second],
            f"{first.stock_code}, {second.stock_code}",
        ):
            drawn('{% recommend "cart" cart=cart as ranking %}', request_, cart=cart)
        assert carts == [(first.stock_code, second.stock_code)] * 3

    def test_list_is_recorded_with_the_item_it_stands_beside(self, request_: HttpRequest, demo_shop: DemoShop) -> None:
        drawn('{% recommend "similar" item=product limit=4 as ranking %}', request_, product=demo_shop.product())
        assert not Impression.objects.exists()
        capture.flush(request_)
        impression = Impression.objects.get()
        assert (impression.slot, impression.current_item_id, len(impression.item_ids)) == (
            "similar",
            demo_shop.product().stock_code,
            4,
        )


class TestRecommendations:
    def test_card_carries_what_capture_needs(self, request_: HttpRequest) -> None:
        page = Tags(drawn('{% recommendations "trending" limit=4 %}', request_))
        capture.flush(request_)
        impression = Impression.objects.get()
        cards = page.having("data-item-id")
        assert [card["data-item-id"] for card in cards] == impression.item_ids
        assert {card["data-ranking-id"] for card in cards} == {str(impression.ranking_id)}
        assert [card["data-position"] for card in cards] == ["1", "2", "3", "4"]
        for card, link in zip(cards, page.having("href"), strict=True):
            query = parse_qs(urlsplit(str(link["href"])).query)
            assert query == {"rid": [str(impression.ranking_id)], "pos": [card["data-position"]]}

    def test_item_id_is_that_of_the_api(self, request_: HttpRequest) -> None:
        page = Tags(drawn('{% recommendations "trending" limit=4 %}', request_))
        answer = Client().get("/recommender/api/v1/recommendations/trending", {"limit": 4}).json()
        assert [card["data-item-id"] for card in page.having("data-item-id")] == [
            item["item_id"] for item in answer["items"]
        ]

    def test_section_is_labelled_by_its_heading(self, request_: HttpRequest) -> None:
        html = drawn('{% recommendations "trending" %}{% recommendations "home" title="Just for you" %}', request_)
        page = Tags(html)
        labels = [section["aria-labelledby"] for tag, section in page.tags if tag == "section"]
        assert labels == [heading["id"] for tag, heading in page.tags if tag == "h2"]
        assert len(set(labels)) == 2
        assert re.findall(r"<h2[^>]*>([^<]*)<", html) == ["Trending now", "Just for you"]

    def test_block_without_a_title_has_no_empty_heading(self, request_: HttpRequest) -> None:
        html = drawn('{% recommendations "trending" title="" %}', request_)
        assert "<h2" not in html
        assert "aria-labelledby" not in html

    def test_empty_list_draws_nothing(self, request_: HttpRequest) -> None:
        assert drawn('{% recommendations "recently_viewed" %}', request_).strip() == ""

    def test_nothing_inline_that_a_strict_policy_would_block(self, request_: HttpRequest) -> None:
        page = Tags(drawn('{% recommendations "trending" %}{% search "bag" %}', request_))
        assert not {"script", "style"} & {tag for tag, _ in page.tags}
        assert not [
            name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")
        ]

    def test_texts_run_in_their_own_direction(self, request_: HttpRequest) -> None:
        page = Tags(drawn('{% recommendations "trending" limit=1 %}{% search "bag" limit=1 %}', request_))
        classes = {str(tag["class"]) for tag in page.having("dir") if tag["dir"] == "auto"}
        assert {"recommender-card__title", "recommender-card__reason", "recommender-list__heading"} <= classes

    def test_titles_are_escaped(self, request_: HttpRequest, demo_shop: DemoShop) -> None:
        product = demo_shop.product()
        type(product).objects.filter(pk=product.pk).update(title='Mug & "cup" > bowl')
        html = drawn('{% recommendations "trending" limit=60 %}{% search q %}', request_, q='<script>"&')
        assert "Mug &amp; &quot;cup&quot; &gt; bowl" in html
        assert "&lt;script&gt;&quot;&amp;" in html
        assert "<script" not in html

    def test_shop_overrides_one_slot_or_one_part_of_a_card(
        self, request_: HttpRequest, settings: Any, tmp_path: Any
    ) -> None:
        folder = tmp_path / "recommender" / "slots"
        folder.mkdir(parents=True)
        (folder / "trending.html").write_text(
            '{% extends "recommender/recommendations.html" %}'
            "{% block recommender_heading %}<h3>{{ slot }}!</h3>{% endblock %}"
        )
        (tmp_path / "recommender" / "card.html").write_text(
            '{% extends "recommender/card.html" %}{% block recommender_card_price %}<i>cheap</i>{% endblock %}'
        )
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
        html = drawn('{% recommendations "trending" limit=2 %}', request_)
        assert "<h3>trending!</h3>" in html
        assert html.count("<i>cheap</i>") == 2
        assert html.count("data-item-id") == 2
        assert "<h3>" not in drawn('{% recommendations "home" limit=2 %}', request_)

    def test_every_slot_has_a_title(self) -> None:
        assert set(TITLES) == set(Slot) - {Slot.SEARCH}


class TestSearch:
    def page_request(self, demo_shop: DemoShop, path: str) -> HttpRequest:
        request: HttpRequest = request_of(path=path)
        return request

    def test_query_is_read_from_the_page(self, demo_shop: DemoShop) -> None:
        title = Item.objects.filter(is_active=True).order_by("item_id")[0].title
        html = drawn("{% search %}", RequestFactory().get("/", {"q": title}))
        assert title in html
        assert Tags(html).having("data-item-id")

    def test_correction_of_a_typo_is_said(self, demo_shop: DemoShop) -> None:
        word = next(
            word for item in Item.objects.order_by("item_id") for word in item.title.lower().split() if len(word) > 7
        )
        typo = word[:3] + word[4:]
        html = drawn("{% search %}", RequestFactory().get("/", {"q": typo}))
        assert re.search(rf"results? for “{word}”", html)
        assert f"You typed “{typo}”." in html

    def test_ranking_is_given_with_as(self, demo_shop: DemoShop) -> None:
        html = drawn(
            "{% search 'heart' limit=2 as ranking %}{{ ranking.n_found }}|{{ ranking.entries|length }}", request_of()
        )
        n_found, n_entries = html.split("|")
        assert int(n_found) >= int(n_entries) >= 1

    def test_pages_follow_each_other(self, demo_shop: DemoShop) -> None:
        first = Tags(drawn("{% search limit=2 %}", self.page_request(demo_shop, "/?q=set&sort=x")))
        [following] = [attributes["href"] for attributes in first.having("rel")]
        assert following == "?q=set&sort=x&page=2"
        second = Tags(drawn("{% search limit=2 %}", self.page_request(demo_shop, f"/{following}")))
        assert [card["data-position"] for card in second.having("data-item-id")] == ["3", "4"]
        assert second.having("rel")[0]["rel"] == "prev"

    def test_page_parameter_has_the_shops_own_name(self, demo_shop: DemoShop) -> None:
        first = Tags(drawn('{% search limit=2 page_param="p" %}', self.page_request(demo_shop, "/?q=set&page=7")))
        [following] = [attributes["href"] for attributes in first.having("rel")]
        assert following == "?q=set&page=7&p=2"
        second = Tags(drawn('{% search limit=2 page_param="p" %}', self.page_request(demo_shop, f"/{following}")))
        assert [card["data-position"] for card in second.having("data-item-id")] == ["3", "4"]
        assert second.having("rel")[0]["href"] == "?q=set&page=7&p=1"
        text = (
            '{% search limit=2 page_param="p" as ranking %}{% for entry in ranking %}{{ entry.position }} {% endfor %}'
        )
        assert drawn(text, self.page_request(demo_shop, f"/{following}")) == "3 4 "

    def test_filter_leads_to_the_first_page_by_the_shops_own_name(self, demo_shop: DemoShop) -> None:
        offered = OfferedFilter("category", "Bags", "Bags", "bag", is_applied=False)
        link = drawn(
            '{% filter_link offered page_param="p" %}', self.page_request(demo_shop, "/?q=bag&p=3"), offered=offered
        )
        assert "p=3" not in link
        assert "category=Bags" in link

    @pytest.mark.parametrize(
        ("address", "text"),
        [("/?q=set&sort=price", "{% search %}"), ("/?q=set&sort=-price", '{% search sort="price" %}')],
    )
    def test_results_are_in_the_order_of_the_template_or_the_page(
        self, demo_shop: DemoShop, address: str, text: str
    ) -> None:
        html = drawn(text, self.page_request(demo_shop, address))
        ids = [str(card["data-item-id"]) for card in Tags(html).having("data-item-id")]
        prices = dict(Item.objects.filter(item_id__in=ids).values_list("item_id", "price"))
        n_found = int(re.search(r"(\d+) results? for", html)[1])  # type: ignore[index]
        amounts = [prices[item_id] for item_id in ids[:n_found]]
        assert len(set(amounts)) > 2
        assert amounts == sorted(amounts)

    def test_orders_lead_to_the_first_page_and_the_current_one_is_marked(self, demo_shop: DemoShop) -> None:
        page = Tags(drawn("{% search limit=2 %}", self.page_request(demo_shop, "/?q=set&sort=newest&page=2&brand=")))
        links = {str(tag["data-sort"]): tag for tag in page.having("data-sort")}
        assert [name for name, tag in links.items() if "aria-current" in tag] == ["newest"]
        assert list(links) == ["relevance", "price", "-price", "newest", "popular", "name"]
        assert links["price"]["href"] == "?q=set&brand=&sort=price"
        assert links["relevance"]["href"] == "?q=set&brand="

    @pytest.mark.parametrize("sort", ["", "x", "PRICE", "cheapest", "x" * 10_000, "a\x00b", "price,name"])
    def test_order_that_does_not_exist_is_relevance_on_a_page(
        self, demo_shop: DemoShop, sort: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = "{% search as ranking %}{{ ranking.sort }} {% for entry in ranking %}{{ entry.item_id }} {% endfor %}"
        wrong, none = (drawn(text, RequestFactory().get("/", {"q": "set", **sent})) for sent in ({"sort": sort}, {}))
        assert wrong == none
        assert wrong.startswith("relevance ")
        assert not caplog.records

    def test_facets_lead_to_results_with_their_values_and_back(self, demo_shop: DemoShop) -> None:
        demo_shop.spread_over_categories()
        text = "{% search limit=2 facets='category,price' %}"
        address = "/?q=set&sort=newest&page=2&x=1"
        page = drawn(text, self.page_request(demo_shop, address))
        assert [tag["data-facet"] for tag in Tags(page).having("data-facet")] == ["category", "price"]
        links = re.findall(r'href="([^"]+)" rel="nofollow">.*?__count">(\d+)<', page)
        assert len(links) > 3
        for link, n_items in links:
            chosen = drawn(text, self.page_request(demo_shop, f"/{unescape(link)}"))
            assert f"{n_items} result" in chosen
            (back,) = re.findall(r'href="([^"]+)" rel="nofollow" aria-current="true">', chosen)
            assert unescape(back) == "?q=set&sort=newest&x=1"

    def test_second_value_is_chosen_beside_the_first_and_each_is_taken_back_alone(self, demo_shop: DemoShop) -> None:
        demo_shop.spread_over_categories()
        one, two = "Bags", "Cards & paper"
        address = f"/?{urlencode({'q': 'set', 'category': one})}"
        page = drawn("{% search facets='category' %}", self.page_request(demo_shop, address))
        link = next(
            link for link in re.findall(r'href="([^"]+)" rel="nofollow">', page) if urlencode({"": two}) in link
        )
        both = drawn("{% search facets='category' %}", self.page_request(demo_shop, f"/{unescape(link)}"))
        backs = [unescape(back) for back in re.findall(r'href="([^"]+)" rel="nofollow" aria-current="true">', both)]
        assert sorted(backs) == [f"?{urlencode({'q': 'set', 'category': name})}" for name in (one, two)]
        chips = re.findall(r'href="([^"]+)" data-filter="category" data-applied', both)
        assert sorted(unescape(chip) for chip in chips) == sorted(backs)

    def test_without_facets_none_are_counted(self, demo_shop: DemoShop) -> None:
        assert "data-facet" not in drawn("{% search %}", self.page_request(demo_shop, "/?q=set&facets=all"))

    def test_facet_that_does_not_exist_is_logged_once_and_left_out(
        self, demo_shop: DemoShop, caplog: pytest.LogCaptureFixture
    ) -> None:
        demo_shop.spread_over_categories()
        for _ in range(2):
            page = drawn("{% search facets='category,colour' %}", self.page_request(demo_shop, "/?q=set"))
            assert [tag["data-facet"] for tag in Tags(page).having("data-facet")] == ["category"]
        assert [record.getMessage() for record in caplog.records] == [
            "{% search %}: there is no facet 'colour'; there are: category, brand, price, available"
        ]

    @pytest.mark.parametrize(
        "sent",
        [
            {"category": "x" * 10_000},
            {"category": ["x"] * 200},
            {"category": "a\x00b"},
            {"min_price": "50", "max_price": "10"},
            {"min_price": "cheap"},
            {"max_price": "9" * 400},
            {"available": "🧵"},
            {"colour": "red"},
        ],
    )
    def test_odd_filters_of_an_address_break_no_page(
        self, demo_shop: DemoShop, sent: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        html = drawn("{% search facets='all' %}", RequestFactory().get("/", {"q": "set", **sent}))
        assert Tags(html).having("data-item-id")
        assert not caplog.records

    @pytest.mark.parametrize("text", ["{% search srot='price' %}", "{% search q page_params='p' as ranking %}"])
    def test_misspelt_argument_is_found_when_the_template_is_read(self, text: str) -> None:
        with pytest.raises(TemplateSyntaxError, match=r"Did you mean '(sort|page_param)'"):
            drawn(text)

    @pytest.mark.parametrize("page", ["0", "-1", "x", "999999999", "٣", "1.5", "9999"])
    def test_page_that_is_no_page_is_no_failure(
        self, demo_shop: DemoShop, page: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        html = drawn("{% search %}", RequestFactory().get("/", {"q": "set", "page": page}))
        assert "recommender-search" in html
        assert not caplog.records

    @pytest.mark.parametrize(
        "query", ["", "x" * 10_000, "🎄", "红色的杯子", "a\x00b", "'; DROP TABLE x; --", '" AND NEAR(']
    )
    def test_strange_query_is_answered(self, demo_shop: DemoShop, query: str, caplog: pytest.LogCaptureFixture) -> None:
        html = drawn("{% search %}", RequestFactory().get("/", {"q": query}))
        assert "<h2" in html
        assert not caplog.records


class TestNeverRaises:
    @pytest.mark.parametrize(
        "tag",
        [
            'recommendations "hme"',
            'recommendations "home" limit="many"',
            'recommendations "similar" item=request',
            "recommendations nothing",
            'search "x" limit="many"',
            'recommend "hme" as ranking',
        ],
    )
    def test_fault_leaves_an_empty_block_and_one_log_entry(
        self, request_: HttpRequest, tag: str, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
    ) -> None:
        settings.DEBUG = False
        monkeypatch.setattr("recommender.templatetags.recommender._logged", set())
        before = capture.counts["failed"]
        for _ in range(3):
            assert drawn("a{% " + tag + " %}b{{ ranking.entries|length }}", request_) in ("ab", "ab0")
        assert len(caplog.records) == 1
        assert capture.counts["failed"] == before + 3

    def test_unknown_slot_names_the_nearest_in_the_page_while_debugging(
        self, request_: HttpRequest, settings: Any
    ) -> None:
        settings.DEBUG = True
        html = drawn('{% recommendations "--><b>simlar" %}{% recommendations "simlar" %}', request_)
        assert "similar" in html
        assert "<b>" not in html
        assert html.count("-->") == 2

    def test_broken_template_of_the_shop_leaves_an_empty_block(
        self, request_: HttpRequest, settings: Any, tmp_path: Any
    ) -> None:
        settings.DEBUG = False
        (tmp_path / "recommender").mkdir()
        (tmp_path / "recommender" / "card.html").write_text("{% nonsense %}")
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
        assert drawn('a{% recommendations "trending" %}b', request_) == "ab"

    def test_page_without_a_request_shows_what_everybody_sees(self, demo_shop: DemoShop) -> None:
        assert Tags(drawn('{% recommendations "trending" limit=2 %}')).having("data-item-id")
        assert not Impression.objects.exists()

    def test_misspelt_argument_is_found_when_the_template_is_first_read(self) -> None:
        with pytest.raises(TemplateSyntaxError, match="limt"):
            drawn('{% recommendations "home" limt=3 %}')
        with pytest.raises(TemplateSyntaxError, match="search"):
            drawn("{% search limt=3 %}")
        with pytest.raises(TemplateSyntaxError, match="limit"):
            drawn('{% recommend "home" limt=3 as ranking %}')


IDS = "{% for entry in list %}{{ entry.item_id }} {% endfor %}|"


def ids_of_blocks(tags: str, request: HttpRequest, **values: Any) -> list[list[str]]:
    """The ids of each list that the tags give to the template, one tag per line."""
    text = "".join(f"{{% {tag.strip()} as list %}}{IDS}" for tag in tags.strip().splitlines())
    return [block.split() for block in drawn(text, request, **values).split("|")[:-1]]


class TestBlocksOfOnePage:
    @pytest.mark.usefixtures("few_are_enough")
    def test_items_of_one_block_are_not_repeated_in_the_next(self, demo_shop: DemoShop, request_: HttpRequest) -> None:
        item_id = demo_shop.product().stock_code
        blocks = ids_of_blocks(
            """recommend "trending" limit=8
               recommend "similar" item=item_id limit=8
               recommend "home" limit=8
               recommend "trending" limit=8""",
            request_,
            item_id=item_id,
        )
        assert [len(block) for block in blocks] == [8] * 4
        assert len({item for block in blocks for item in block}) == 32

    def test_order_of_the_blocks_decides(self, demo_shop: DemoShop) -> None:
        alone = ids_of_blocks('recommend "trending" limit=4', request_of())
        first = ids_of_blocks('recommend "trending" limit=4\nrecommend "home" limit=4', request_of())
        assert first[0] == alone[0]

    def test_items_of_a_search_are_not_repeated_below_it(self, request_: HttpRequest) -> None:
        results, trending = ids_of_blocks('search "set" limit=4\nrecommend "trending" limit=8', request_)
        assert not set(results) & set(trending)

    def test_search_lists_what_a_block_above_shows(self, demo_shop: DemoShop) -> None:
        [alone] = ids_of_blocks('search "set" limit=4', request_of())
        below = ids_of_blocks('recommend "trending" limit=30\nsearch "set" limit=4', request_of())[1]
        assert below == alone

    def test_block_shows_other_items_where_the_first_has_all_that_sell(self, request_: HttpRequest) -> None:
        ItemStatistics.objects.exclude(item__item_id__in=["22457"]).update(n_1=0, n_7=0, n_30=0, n_total=0)
        serving.reload()
        blocks = ids_of_blocks('recommend "trending" limit=1\nrecommend "trending" limit=5', request_)
        assert [len(block) for block in blocks] == [1, 5]
        assert not set(blocks[0]) & set(blocks[1])

    def test_block_repeats_items_rather_than_being_empty(self, request_: HttpRequest, demo_shop: DemoShop) -> None:
        item_id = demo_shop.product().stock_code
        tag = 'recommend "bought_together" item=item_id limit=100'
        first, again = ids_of_blocks(f"{tag}\n{tag}", request_, item_id=item_id)
        assert first
        assert set(again) <= set(first)
        assert again

    def test_pages_do_not_know_of_each_other(self, demo_shop: DemoShop) -> None:
        text = 'recommend "trending" limit=4'
        assert ids_of_blocks(text, request_of()) == ids_of_blocks(text, request_of())


class TestLeftOut:
    def test_new_only_shows_nothing_that_was_bought(self, request_: HttpRequest, demo_shop: DemoShop) -> None:
        request_.user = demo_shop.customer().user
        bought = {event.item_id for event in shopper_of(request_).history()}
        [new] = ids_of_blocks('recommend "trending" limit=20 new_only=True', request_)
        assert bought
        assert len(new) == 20
        assert not set(new) & bought

    def test_excluded_are_ids_objects_or_another_list(self, demo_shop: DemoShop) -> None:
        [first] = ids_of_blocks('recommend "trending" limit=4', request_of())
        products = [demo_shop.product(), demo_shop.product(1)]
        for exclude, gone in ((",".join(first), first), (products, [product.stock_code for product in products])):
            [rest] = ids_of_blocks('recommend "trending" limit=8 exclude=exclude', request_of(), exclude=exclude)
            assert len(rest) == 8
            assert not set(rest) & set(gone)
        html = drawn(
            '{% recommend "trending" limit=4 as a %}{% recommend "home" exclude=a as list %}' + IDS, request_of()
        )
        assert not set(html.split("|")[0].split()) & set(first)

    def test_excluded_item_does_not_come_back_even_into_an_empty_list(self, demo_shop: DemoShop) -> None:
        item_id = demo_shop.product().stock_code
        tag = 'recommend "bought_together" item=item_id limit=100'
        [first] = ids_of_blocks(tag, request_of(), item_id=item_id)
        [rest] = ids_of_blocks(f"{tag} exclude=first", request_of(), item_id=item_id, first=first)
        assert not set(rest) & set(first)

    def test_late_list_may_be_of_new_items_only(self, request_: HttpRequest) -> None:
        assert "new_only=1" in drawn('{% lazy_recommendations "home" new_only=True %}')
        assert "new_only" not in drawn('{% lazy_recommendations "home" %}')


class TestCost:
    def test_all_blocks_of_a_page_cost_at_most_four_queries(self, demo_shop: DemoShop, item_id: str) -> None:
        visitor = Visitor.objects.create()
        request: Any = request_of()
        request.COOKIES["recommender_visitor"] = cookie_for(visitor.key)
        serving.reload()
        with assert_queries(4):
            html = drawn(
                '{% recommendations "home" %}{% recommendations "trending" %}{% recommendations "recently_viewed" %}'
                '{% recommendations "similar" item=item_id %}{% recommendations "bought_together" item=item_id %}'
                '{% search "bag" %}',
                request,
                item_id=item_id,
            )
        assert html.count("<section") >= 4

    @pytest.fixture
    def item_id(self, demo_shop: DemoShop) -> str:
        return Item.objects.filter(is_active=True).order_by("item_id")[0].item_id

    def test_page_cache_keeps_no_personal_page(self, demo_shop: DemoShop) -> None:
        drawn_for: list[str] = []

        @cache_page(60)
        def page(request: HttpRequest) -> HttpResponse:
            drawn_for.append(request.META["HTTP_USER_AGENT"])
            return HttpResponse(drawn('{% recommendations "home" %}', request))

        cache.clear()
        for agent in ("one", "two"):
            page(RequestFactory().get("/", headers={"User-Agent": agent}))
        assert drawn_for == ["one", "two"]


class TestLinksAndMoney:
    @pytest.mark.parametrize(
        ("url", "link"),
        [
            ("/item/1/", "/item/1/?rid={id}&pos=3"),
            ("/item?id=1", "/item?id=1&rid={id}&pos=3"),
            ("https://shop.example/1#size", "https://shop.example/1?rid={id}&pos=3#size"),
            ("", ""),
        ],
    )
    def test_link_keeps_the_url_and_adds_the_list(self, url: str, link: str) -> None:
        ranking = ranking_of(url)
        assert item_link(ranking, ranking.entries[0]) == link.format(id=ranking.id)

    def test_money_is_written_as_the_language_does(self) -> None:
        live = Live("Mug", price=Decimal("1234.5"), currency="GBP")
        with translation.override("en-gb"):
            assert money(live) == "£1,234.50"
        with translation.override("de"):
            assert money(live) == "£1.234,50"
            assert money(Live("Mug", price=Decimal(5), currency="SEK")) == "5,00 SEK"
        assert money(Live("Mug")) == ""

    @pytest.mark.parametrize(
        ("price", "currency", "written"),
        [("1500", "JPY", "1,500 JPY"), ("1250000", "IRR", "1,250,000 IRR"), ("4.255", "KWD", "4.255 KWD")],
    )
    def test_money_has_the_decimals_of_its_currency(self, price: str, currency: str, written: str) -> None:
        with translation.override("en"):
            assert money(Live("Mug", price=Decimal(price), currency=currency)) == written

    def test_numbers_in_attributes_are_never_grouped(self, settings: Any) -> None:
        settings.USE_THOUSAND_SEPARATOR = True
        entry = Entry("1", 1200, 0.5, live=Live("Mug", url="/1/"))
        ranking = Ranking(uuid.uuid4(), Slot.SEARCH, (entry,), Rung.LEXICAL)
        engine = engines["django"]
        html = engine.get_template("recommender/card.html").render({"entry": entry, "ranking": ranking})
        assert 'data-position="1200"' in html
        assert "pos=1200" in html


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_list_that_fails_leaves_the_pages_own_transaction_usable(live_demo_shop: DemoShop, monkeypatch: Any) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    request = request_of()
    serving.reload()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_product RENAME TO gone")  # prices are read from it
        assert drawn("{% recommendations 'home' %}", request).strip() == ""
        assert drawn("{% recommend 'home' as ranking %}{{ ranking.rung }}", request) == "empty"
        assert Item.objects.exists()  # PostgreSQL would refuse this query
        transaction.set_rollback(True)
    assert Visitor.objects.exists()
