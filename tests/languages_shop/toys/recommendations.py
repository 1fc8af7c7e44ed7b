from recommender.catalog import Catalog, register


@register("toys.Toy")
class Toys(Catalog):
    category, languages = "shelves", ("de", "en")
    related = {"toys.ToyTranslation": "translations"}


@register("toys.Tool")
class Tools(Catalog):
    category, languages = "shelf", ("de", "en")
