"""Scripts, codes, numbers and stems through the public search, by words alone and with the packaged encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps

from recommender import pipeline, serving
from recommender.catalog import catalogs, sync
from recommender.ml.export import export_untrained
from recommender.models import Item
from recommender.serving import Served
from recommender.serving.loading import load_shelf
from recommender.serving.ranker import Ranker
from shopreco.shop.models import Department, Product

SHOPS: dict[str, dict[str, tuple[str, str]]] = {
    "scripts": {
        "ZH1": ("红色陶瓷马克杯", ""), "ZH2": ("蓝色玻璃花瓶", ""), "ZH3": ("手工羊毛围巾", ""),
        "JA1": ("赤いマグカップ", ""), "JA2": ("木製テーブルランプ", ""), "JA3": ("ふわふわタオル", ""),
        "JA4": ("キッチンばさみ", ""), "JA5": ("くつした 綿", ""), "JA6": ("ﾊﾟｽﾀ皿", ""), "KO1": ("빨간 머그컵", ""),
        "KO2": ("나무책상램프", ""), "KO3": ("어린이용 우산", ""), "AR1": ("كُوب قَهْوَة", ""),
        "AR2": ("أحذية رياضية", ""), "AR3": ("مكتبة خشبيّة", ""), "HE1": ("שׁוּלְחָן עֵץ", ""),
        "HE2": ("מגבת כותנה", ""), "TR1": ("İNCİ KOLYE", ""), "TR2": ("Işıklı ayna", ""), "TR3": ("Çay bardağı", ""),
        "HI1": ("लाल फूलदान", ""), "HI2": ("ज़रीदार साड़ी", ""), "HI3": ("चाँदी की थाली", ""),
        "HI4": ("कपड़ा काला", ""), "TM1": ("TEFAL™ frying pan", ""), "TM2": ("LEGO® bricks", ""),
        "TM3": ("Sparkle℠ cleaner", ""), "SH1": ("Wasser\u00adkocher Edelstahl", ""),
        "SH2": ("Tea\u200bpot of cast\u2060 iron", ""), "SH3": ("\ufeffWindow\u200d box", ""),
        "MY1": ("မြန်မာ လက်ဖက်ရည်", ""), "NU1": ("Garden chair", ""),
    },
    "codes": {
        "85123A": ("White hanging heart holder", "Lights"), "85123B": ("Black hanging heart holder", "Lights"),
        "84077": ("Glass gobstopper set", "Toys"), "AB-12.34-5": ("Steel bracket", "Hardware"),
        "0012345": ("Brass hook", "Hardware"), "036000291452": ("Paper tissues", "Household"),
        "SON1": ("Sony WH-1000XM5 wireless headphones", "Audio"),
        "SON2": ("Sony WH-1000XM4 wireless headphones", "Audio"),
        "SON3": ("Sony wireless speaker SRS-XB13", "Audio"), "STAB": ("Fine liner pen EAN 4006381333931", "Office"),
        "BOSC": ("Impact drill GSB 18V-55", "Tools"), "FILT": ("Filter cartridge 5010/55.2", "Household"),
        "BOOK": ("Field guide, ISBN 978-3-16-148410-0", "Books"), "GUID": ("Wireless mouse 100", "Audio"),
        "TOY1": ("Wooden train of Brio", "Toys"), "TOY2": ("Brio set", "Wooden railway"),
        "TRAY": ("Wooden tray", "Household"),
    },
    "numbers": {
        "P12": ("Copper pipe 1/2 inch", ""), "E112": ("PVC elbow 1-1/2 in.", ""), "E12": ("PVC elbow ½\"", ""),
        "V34": ("Ball valve ¾ inch", ""), "S212": ("Screw 2½ in", ""), "F34": ("Picture frame 30 × 40 cm", ""),
        "F45": ("Picture frame 40x50 cm", ""), "L24": ("Lumber 2x4", ""), "J1000": ("Jigsaw 1,000 pieces", ""),
        "J500": ("Jigsaw 500 pieces", ""), "J1500": ("Jigsaw 1.500 Teile", ""), "J2000": ("Jigsaw 2 000 pièces", ""),
        "J3000": ("Jigsaw 3'000 Teile", ""), "R5": ("Rice bag 5kg", ""), "R2": ("Rice bag 2 kg", ""),
        "SH500": ("Shampoo 500ml", ""), "SH250": ("Shampoo 250 ml", ""), "OIL": ("Olive oil 1 l", ""),
        "B60": ("Bulb 60W warm", ""), "B40": ("Bulb 40 watt warm", ""), "ROPE": ("Rope 10m", ""),
    },
    "plurals": {
        "EN1": ("Children's bicycle", ""), "EN2": ("Women's scarf", ""), "EN3": ("Men's wallet", ""),
        "EN4": ("Child seat", ""), "EN5": ("Quiche dish", ""), "EN6": ("Canoe paddle", ""),
        "EN7": ("Iris bulbs", ""), "EN8": ("Pickaxe with handle", ""), "EN9": ("Bookshelf oak", ""),
        "EN10": ("Watch strap", ""), "EN11": ("Cactus pots", ""), "EN12": ("Potatoes masher", ""),
        "EN13": ("Horseshoe magnet", ""), "EN14": ("Snowman cutter", ""), "EN15": ("Trellises for roses", ""),
        "EN16": ("Kids' tent", ""),
    },
    "german": {
        "DE1": ("Jonglierkeulen für Anfänger", ""), "DE2": ("Fußball rot", ""), "DE3": ("Bälle aus Schaumstoff", ""),
        "DE4": ("Badetücher grün", ""), "DE5": ("Kinderfahrrad mit Korb", ""), "DE6": ("Holzlöffel groß", ""),
        "DE7": ("Gläser mit Deckel", ""), "DE8": ("Tasse blau", ""), "DE9": ("Blumentöpfe aus Ton", ""),
    },
    "spanish": {
        "ES1": ("Flores de papel", ""), "ES2": ("Lápices de colores", ""), "ES3": ("Reloj de pared", ""),
        "ES4": ("Cojín azul con flecos", ""),
    },
    "dutch": {
        "NL1": ("Kaarsen voor buiten", ""), "NL2": ("Bomen van hout", ""), "NL3": ("Theedoek met strepen", ""),
        "NL4": ("Brievenbus zwart", ""), "NL5": ("Glazen met deksel", ""),
    },
    "scandinavian": {
        "SV1": ("Kaffekopp med fat", ""), "DA1": ("Træbord til haven", ""), "NO1": ("Ullteppe og pute", ""),
    },
}  # fmt: skip
"""By kind of query: stock code, title and category of what is sold."""

CASES: dict[str, list[tuple[str, str]]] = {
    "scripts": [
        ("陶瓷杯", "ZH1"), ("杯 红色", "ZH1"), ("花瓶蓝色", "ZH2"), ("围巾", "ZH3"), ("羊毛手工", "ZH3"),
        ("マグカップ 赤い", "JA1"), ("カップ赤い", "JA1"), ("まぐかっぷ", "JA1"), ("ランプ 木製", "JA2"),
        ("てーぶるらんぷ", "JA2"), ("フワフワ", "JA3"), ("ふわふわたおる", "JA3"), ("きっちんはさみ", "JA4"),
        ("キッチンバサミ", "JA4"), ("クツシタ", "JA5"), ("ｸﾂｼﾀ", "JA5"), ("ぱすた", "JA6"), ("パスタ皿", "JA6"),
        ("머그컵 빨간", "KO1"), ("책상", "KO2"), ("램프책상", "KO2"), ("우산 어린이", "KO3"), ("كوب قهوة", "AR1"),
        ("قـهـوه", "AR1"), ("احذيه رياضيه", "AR2"), ("آحذية", "AR2"), ("مَكتبة خشبية", "AR3"), ("שולחן עץ", "HE1"),
        ("מַגֶּבֶת", "HE2"), ("inci kolye", "TR1"), ("İnci", "TR1"), ("INCI", "TR1"), ("ışıklı", "TR2"),
        ("IŞIKLI AYNA", "TR2"), ("isikli", "TR2"), ("cay bardagi", "TR3"), ("ÇAY BARDAĞI", "TR3"), ("फूलदान", "HI1"),
        ("जरीदार", "HI2"), ("साड़ी", "HI2"), ("साडी", "HI2"), ("चांदी", "HI3"), ("कपड़ा", "HI4"), ("कपडा", "HI4"),
        ("tefal pan", "TM1"), ("Tefal™", "TM1"), ("lego", "TM2"), ("sparkle cleaner", "TM3"),
        ("wasserkocher", "SH1"), ("Wasser\u00adkocher", "SH1"), ("teapot", "SH2"), ("cast iron", "SH2"),
        ("tea\u200bpot", "SH2"), ("window box", "SH3"), ("\u200ewindow\u200f", "SH3"), ("လက်ဖက်ရည်", "MY1"),
    ],
    "codes": [
        ("85123A", "85123A!"), ("85123a", "85123A!"), ("85123-A", "85123A!"), ("85123 a", "85123A!"),
        ("#85123A", "85123A!"), ("SKU: 85123A", "85123A!"), ("84077", "84077!"), ("084077", "84077!"),
        ("AB12345", "AB-12.34-5!"), ("ab-12-34-5", "AB-12.34-5!"), ("AB 12 34 5", "AB-12.34-5!"),
        ("12345", "0012345!"), ("0012345", "0012345!"), ("36000291452", "036000291452!"),
        ("0036000291452", "036000291452!"), ("0 36000 29145 2", "036000291452!"),
        ("00036000291452", "036000291452!"), ("EAN 0-36000-29145-2", "036000291452!"), ("4006381333931", "STAB!"),
        ("4 006381 333931", "STAB!"), ("04006381333931", "STAB!"), ("4006.3813.33931", "STAB!"),
        ("9783161484100", "BOOK!"), ("978-3-16-148410-0", "BOOK!"), ("ISBN 978 3 16 148410 0", "BOOK!"),
        ("wh-1000xm5", "SON1!"), ("WH1000XM5", "SON1!"), ("wh 1000 xm5", "SON1!"), ("xm5", "SON1"),
        ("1000xm4", "SON2"), ("sony xm5", "SON1"), ("xm4 headphones", "SON2"), ("xb13", "SON3"),
        ("gsb 18v-55", "BOSC"), ("gsb18v55", "BOSC"), ("18v55", "BOSC"), ("5010/55.2", "FILT!"),
        ("5010-55-2", "FILT!"), ("5010552", "FILT!"), ("brio wooden", "TOY1 TOY2"), ("wooden railway set", "TOY2"),
        ("85123", "85123A 85123B"),
    ],
    "numbers": [
        ("½ inch pipe", "P12"), ("1/2 inch pipe", "P12"), ("0.5 inch pipe", "P12"), ("pipe 1/2\"", "P12"),
        ("½″ elbow", "E12"), ("1½ elbow", "E112"), ("1 1/2 in elbow", "E112"), ("1-1/2\" elbow", "E112"),
        ("1.5 inch elbow", "E112"), ("1⁄2 elbow", "E12"), ("3/4 valve", "V34"), ("0,75 inch valve", "V34"),
        ("2 1/2 screw", "S212"), ("2.5 in screw", "S212"), ("frame 30x40", "F34"), ("frame 30×40cm", "F34"),
        ("frame 30 x 40", "F34"), ("40 × 50 frame", "F45"), ("2×4", "L24"), ("2 x 4 lumber", "L24"),
        ("jigsaw 1000", "J1000"), ("jigsaw 1.000", "J1000"), ("jigsaw 1 000", "J1000"), ("jigsaw 1'000", "J1000"),
        ("jigsaw 1’000", "J1000"), ("jigsaw 1500", "J1500"), ("jigsaw 1,500", "J1500"), ("jigsaw 2000", "J2000"),
        ("jigsaw 2,000", "J2000"), ("jigsaw 3000", "J3000"), ("jigsaw 3.000", "J3000"), ("rice 5 kg", "R5"),
        ("rice 5kg", "R5"), ("5 kilograms rice", "R5"), ("rice 2kg", "R2"), ("rice 2000 g", "R2"),
        ("shampoo 500 ml", "SH500"), ("shampoo 0.5 l", "SH500"), ("shampoo 250ml", "SH250"),
        ("olive oil 1000ml", "OIL"), ("oil 1l", "OIL"), ("60 watt bulb", "B60"), ("bulb 40w", "B40"),
        ("rope 10 metres", "ROPE"), ("rope 1000 cm", "ROPE"),
    ],
    "plurals": [
        ("children bicycle", "EN1"), ("childrens bicycle", "EN1"), ("child's bicycle", "EN1"),
        ("child bicycle", "EN1"), ("children's seat", "EN4"), ("childrens seat", "EN4"), ("womens scarf", "EN2"),
        ("woman scarf", "EN2"), ("women scarves", "EN2"), ("mens wallet", "EN3"), ("man wallets", "EN3"),
        ("kid tent", "EN16"), ("kid's tents", "EN16"), ("quiches dishes", "EN5"), ("canoes", "EN6"),
        ("irises", "EN7"), ("pickaxes", "EN8"), ("bookshelves", "EN9"), ("watches straps", "EN10"),
        ("cactuses", "EN11"), ("potato", "EN12"), ("horseshoes", "EN13"), ("snowmen", "EN14"), ("trellis", "EN15"),
    ],
    "german": [
        ("keulen ", "DE1"), ("keule ", "DE1"), ("jonglierkeule ", "DE1"), ("jonglier keulen", "DE1"),
        ("ball ", "DE2 DE3"), ("bälle ", "DE2 DE3"), ("baelle ", "DE2 DE3"), ("badetuch ", "DE4"),
        ("tücher ", "DE4"), ("fahrrad ", "DE5"), ("fahrräder ", "DE5"), ("löffel ", "DE6"), ("glas ", "DE7"),
        ("tassen ", "DE8"), ("blumentopf ", "DE9"), ("topf ", "DE9"),
    ],
    "spanish": [
        ("flor ", "ES1"), ("lápiz ", "ES2"), ("relojes ", "ES3"), ("cojines ", "ES4"), ("color ", "ES2"),
    ],
    "dutch": [
        ("kaars ", "NL1"), ("boom ", "NL2"), ("doeken ", "NL3"), ("theedoeken ", "NL3"), ("brievenbussen ", "NL4"),
        ("streep ", "NL3"), ("glas ", "NL5"),
    ],
    "scandinavian": [
        ("kopp ", "SV1"), ("bord ", "DA1"), ("teppe ", "NO1"), ("puter ", "NO1"),
    ],
}  # fmt: skip
"""By kind: a query and what leads its list, in any order; "!": nothing else is counted."""


@pytest.fixture(scope="module")
def shops(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Served]]:
    """Each shop as it serves, by kind of query and by what it searches with; its products stay until the end."""
    folder = tmp_path_factory.mktemp("untrained")
    export_untrained("", folder)
    ranker = Ranker.load(folder)
    (catalog,) = catalogs()
    shops: dict[tuple[str, str], Served] = {}
    products: list[Product] = []
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "text", ("title", "department.name"))
        for kind, sold in SHOPS.items():
            products += sell(sold)
            sync.sync()
            shelf = load_shelf(None)
            vectors = ranker.encode(shelf.items.texts)
            shops[kind, "words"] = Served(shelf)
            shops[kind, "vectors"] = Served(
                dataclasses.replace(shelf, vectors=vectors).calibrated(ranker.encode), ranker, "b"
            )
            Product.objects.all().delete()
            Item.objects.all().delete()
        Product.objects.bulk_create(products)
        yield shops
        for model in (Product, Department, *apps.get_app_config("recommender").get_models()):
            model._default_manager.all().delete()


def sell(sold: dict[str, tuple[str, str]]) -> list[Product]:
    names = {name for _, name in sold.values() if name}
    departments = {name: Department.objects.create(name=name, slug=name.lower().replace(" ", "-")) for name in names}
    return Product.objects.bulk_create(
        Product(stock_code=code, title=title, price=5, stock=1, is_visible=True, department=departments.get(name))
        for code, (title, name) in sold.items()
    )


@pytest.mark.parametrize("means", ["words", "vectors"])
@pytest.mark.parametrize(
    ("kind", "query", "expected"), [(kind, *case) for kind, cases in CASES.items() for case in cases]
)
def test_query_of_each_kind_leads_to_what_it_means(db, monkeypatch, shops, kind, query, expected, means):
    monkeypatch.setattr(serving, "current", lambda: shops[kind, means])
    ranking = pipeline.search(query)
    leading = set(expected.removesuffix("!").split())
    assert {entry.item_id for entry in ranking.entries[: len(leading)]} == leading
    assert ranking.corrected_query == ""
    if expected.endswith("!"):
        assert ranking.n_found == len(ranking) == len(leading)
