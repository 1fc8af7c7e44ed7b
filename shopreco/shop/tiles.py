"""A picture for a product without a photo: its kind, colour and pattern, read from the title."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

THINGS = {
    "earrings": "earrings earring",
    "ring": "bracelet bangle",
    "necklace": "necklace necklaces choker pendant beads",
    "bow": "hair hairslide hairband comb ribbon ribbons reel bow tape",
    "key": "key keys keyring padlock knob",
    "umbrella": "umbrella umbrellas parasol",
    "clock": "clock clocks watch timer",
    "towel": "towel towels apron flannel glove gloves cloth napkin napkins",
    "lights": "lights bulbs bulb",
    "lantern": "lantern lanterns lamp lampshade chandelier",
    "candle": "candle candles light lights candlestick incense votive candleholder",
    "doormat": "doormat mat rug",
    "cushion": "cushion cushions pillow quilt throw",
    "bunting": "bunting garland flag flags party balloon balloons streamers",
    "teapot": "teapot cosy jug kettle",
    "mug": "mug mugs cup cups coffee teacup beaker beakers",
    "glass": "wine tumbler goblet cocktail champagne beer",
    "bottle": "bottle bottles flask vase",
    "cake": "cake cakes cakestand cupcake cupcakes baking cookie cases biscuit sponge",
    "cutlery": "cutlery spoon spoons fork knife scales measuring whisk utensil",
    "plate": "plate plates tray trays coaster coasters placemat placemats doily doilies saucer ashtray",
    "bowl": "bowl bowls dish dishes pan mould moulds",
    "jar": "jar jars jam pot container containers canister",
    "basket": "basket baskets wicker hamper picnic bucket",
    "pencil": "pencil pencils pen pens crayons chalk ruler eraser sharpener",
    "book": "notebook notebooks book books sketchbook journal passport album stationery calendar diary planner",
    "card": "card cards envelope envelopes postcard postcards minicards",
    "bag": "bag bags handbag backpack shopper washbag rucksack luggage satchel lunch",
    "purse": "purse wallet purses",
    "gift": "wrap gift tissue tissues present",
    "tin": "tin tins",
    "box": "box boxes trinket chest crate crates drawer drawers cabinet storage cupboard bin caddy organiser",
    "frame": "frame frames mirror picture photo print art canvas",
    "sign": "sign signs plaque letter letters number tile chalkboard blackboard board memoboard doorsign",
    "hanger": "hanger hangers rack hook hooks shelf coat peg pegs",
    "chair": "chair stool bench table seat",
    "soap": "soap bath bathroom toothbrush bubble bubbles balm",
    "sewing": "sewing felt feltcraft button buttons knitting patches craft needle stitch",
    "toy": "doll dolly toy toys teddy jigsaw skittles playhouse game games dinosaur robot puppet babushka bear",
    "watering": "garden watering plant planter planters herb seeds gardening shed marker",
}
"""Words for what a product is, by the symbol of `static/shop/motifs.svg`; the last one of a title wins."""

DECORATIONS = {
    "tree": "tree trees wreath holly",
    "bell": "bell bells",
    "bauble": "bauble baubles christmas decoration decorations xmas",
    "star": "star stars snowflake snowflakes",
    "egg": "egg eggs easter chick chicks hen",
    "rabbit": "rabbit bunny bunnies cat cats dog mouse",
    "bird": "bird birds dove owl duck ducks robin lovebird",
    "butterfly": "butterfly butterflies",
    "flower": "flower flowers rose roses daisy floral blossom hibiscus posy poppy petal",
    "house": "house home cottage hut doorstop door",
    "heart": "heart hearts love sweetheart valentine",
}
"""Words for what is on a product; the first of these symbols is used if the title names no thing."""

TONES = {
    "red": "red retrospot ruby strawberry cherry poppy babushka",
    "pink": "pink rose fuschia magenta sweetheart",
    "purple": "purple amethyst lavender violet plum lilac",
    "blue": "blue navy denim sky sapphire",
    "teal": "turquoise teal aqua mint peppermint",
    "green": "green olive lime emerald peridot holly garden leaf",
    "yellow": "yellow gold amber lemon honey brass",
    "orange": "orange copper apricot terracotta",
    "wood": "wood wooden wicker brown chocolate natural rustic oak bamboo",
    "slate": "black silver zinc grey slate metal jet chrome steel skull",
    "cream": "ivory cream white pearl lace linen crystal glass clear vanilla",
}
"""Which words colour a tile; the first word of the title that names one wins."""

PATTERNS = {
    "dots": "polkadot retrospot spot spots spotty dots dotty",
    "stripes": "stripe stripes striped union candy deckchair",
    "checks": "gingham check checks tartan plaid scottie",
}

_THING_OF = {word: motif for motif, words in THINGS.items() for word in words.split()}
_DECORATION_OF = {word: motif for motif, words in DECORATIONS.items() for word in words.split()}
_TONE_OF = {word: tone for tone, words in TONES.items() for word in words.split()}
_PATTERN_OF = {word: pattern for pattern, words in PATTERNS.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class Tile:
    """Names of an SVG symbol, a colour and a pattern ("" for none); without a symbol the initials are drawn."""

    motif: str
    tone: str
    pattern: str
    initials: str


def tile(title: str) -> Tile:
    """The tile of a title; the same title always has the same tile."""
    words = re.findall(r"[a-z]+", title.lower())
    tones = [_TONE_OF[word] for word in words if word in _TONE_OF]
    patterns = [_PATTERN_OF[word] for word in words if word in _PATTERN_OF]
    return Tile(
        motif=_motif(words),
        tone=tones[0] if tones else _any_tone(words),
        pattern=patterns[0] if patterns else "",
        initials="".join(word[0] for word in words[:2]).upper(),
    )


def _motif(words: list[str]) -> str:
    """The symbol of a title. The main word of an English title comes last, before "in", "on", "with" or "for"."""
    end = next((index for index, word in enumerate(words) if index and word in ("in", "on", "with", "for")), len(words))
    for part in (words[:end], words):
        things = [_THING_OF[word] for word in part if word in _THING_OF]
        if things:
            return things[-1]
    decorations = {_DECORATION_OF.get(word) for word in words}
    return next((motif for motif in DECORATIONS if motif in decorations), "")


def _any_tone(words: list[str]) -> str:
    """Choose by the first word, so that products of one series look alike."""
    names = list(TONES)
    return names[zlib.crc32(words[0].encode()) % len(names)] if words else names[-1]
