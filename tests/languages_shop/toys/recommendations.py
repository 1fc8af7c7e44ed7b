from recommender.catalog import Catalog, register


@register("toys.Toy")
class Toys(Catalog):
    category, languages = "shelves", ("de", "en")
    related = {"toys.ToyTranslation": "master"}


@register("toys.Tool")
class Tools(Catalog):
    category, languages = "shelf", ("de", "en")
