"""What the depot sells: department, then `label; maker; price; sizes`."""

DEPARTMENTS = {
    "Tents and shelters": """
        Two-person mountain tent; Kestrel; 289; -
        Three-season family tent; Kestrel; 349; -
        Ultralight tarp; Fernhill; 129; -
        Bivouac sack; Fernhill; 99; -
        Tent footprint groundsheet; Kestrel; 35; -
        Steel tent pegs, pack of ten; Kestrel; 14.5; -
        Camping hammock with mosquito net; Fernhill; 79; -
        Beach shelter with UV protection; Lumo; 59; -
    """,
    "Sleeping": """
        Down sleeping bag to minus ten; Norrland; 319; Regular, Long
        Synthetic summer sleeping bag; Norrland; 89; Regular, Long
        Self-inflating sleeping mat; Norrland; 75; -
        Closed-cell foam mat; Fernhill; 25; -
        Silk sleeping bag liner; Norrland; 49; -
        Inflatable travel pillow; Lumo; 19; -
        Insulated quilt; Fernhill; 189; -
    """,
    "Cooking": """
        Compact gas stove; Ember; 45; -
        Multi-fuel expedition stove; Ember; 139; -
        Gas cartridge 230 g; Ember; 7.9; -
        Titanium pot 900 ml; Ember; 55; -
        Folding spork; Ember; 6.5; -
        Collapsible cup; Lumo; 9.9; -
        Coffee filter for the trail; Ember; 17; -
        Freeze-dried lentil curry; Summit Kitchen; 8.5; -
        Freeze-dried mushroom risotto; Summit Kitchen; 8.5; -
        Oat and berry energy bar; Summit Kitchen; 2.2; -
        Electrolyte tablets; Summit Kitchen; 6.9; -
    """,
    "Packs": """
        Trekking backpack 60 litres; Kestrel; 199; S/M, L/XL
        Daypack 22 litres; Kestrel; 69; -
        Trail running vest; Swift; 95; S, M, L
        Waterproof dry bag; Lumo; 21; 5 l, 13 l, 35 l
        Packing cubes, set of three; Lumo; 32; -
        Child carrier backpack; Kestrel; 259; -
        Rain cover for backpacks; Kestrel; 22; -
    """,
    "Jackets": """
        Waterproof shell jacket; Norrland; 249; S, M, L, XL
        Packable down jacket; Norrland; 199; S, M, L, XL
        Windproof running jacket; Swift; 89; S, M, L
        Fleece jacket with hood; Fernhill; 79; S, M, L, XL
        Softshell jacket; Norrland; 139; S, M, L, XL
        Children's rain jacket; Lumo; 45; 104, 116, 128
        Wash-in waterproofing; Fernhill; 12.5; -
    """,
    "Trousers and base layers": """
        Convertible hiking trousers; Fernhill; 79; S, M, L, XL
        Merino base layer top; Norrland; 75; S, M, L
        Merino base layer leggings; Norrland; 69; S, M, L
        Running shorts; Swift; 39; S, M, L
        Running tights; Swift; 59; S, M, L
        Hiking socks in merino wool; Norrland; 17; 37-39, 40-42, 43-45
        Running socks; Swift; 12; 37-39, 40-42, 43-45
        Wool beanie; Norrland; 25; -
        Sun hat with neck cover; Lumo; 24; -
    """,
    "Shoes": """
        Leather hiking boots; Alpago; 219; 38, 40, 42, 44
        Light hiking shoes; Alpago; 129; 38, 40, 42, 44
        Trail running shoes; Swift; 139; 38, 40, 42, 44
        Road running shoes; Swift; 129; 38, 40, 42, 44
        Approach shoes; Alpago; 149; 38, 40, 42, 44
        Camp sandals; Lumo; 49; 38, 40, 42, 44
        Gaiters; Alpago; 39; S, M, L
        Wax for leather boots; Alpago; 9.9; -
        Spare laces; Alpago; 4.5; -
    """,
    "Climbing": """
        Climbing harness; Vertex; 69; S, M, L
        Dynamic rope 60 m; Vertex; 169; -
        Climbing shoes; Vertex; 109; 38, 40, 42, 44
        Chalk bag; Vertex; 19; -
        Loose chalk 300 g; Vertex; 9.5; -
        Belay device with carabiner; Vertex; 45; -
        Quickdraws, set of six; Vertex; 89; -
        Climbing helmet; Vertex; 65; -
        Finger tape; Vertex; 5.5; -
    """,
    "Light and navigation": """
        Rechargeable head torch; Lumo; 59; -
        Camping lantern; Lumo; 35; -
        Baseplate compass; Fernhill; 29; -
        Topographic map case; Fernhill; 15; -
        Handheld GPS receiver; Kestrel; 279; -
        Running watch with heart rate; Swift; 229; -
        Emergency whistle; Lumo; 4.9; -
        First aid kit; Lumo; 34; -
        Trekking poles, pair; Kestrel; 89; -
        Water filter bottle; Fernhill; 42; -
    """,
}

BLURBS = {
    "Tents and shelters": "Keeps wind and rain out on the ridge and packs small.",
    "Sleeping": "For warm nights outside.",
    "Cooking": "For a hot meal far from any kitchen.",
    "Packs": "Carries comfortably all day.",
    "Jackets": "Against wind, rain and cold.",
    "Trousers and base layers": "Dries quickly and wears well.",
    "Shoes": "Grip on wet rock and loose gravel.",
    "Climbing": "Certified for the crag and the gym.",
    "Light and navigation": "Finds the way home in the dark.",
}

GIFT_CARDS = [("Gift card 25", 25), ("Gift card 50", 50), ("Gift card 100", 100), ("Course voucher for climbing", 79)]

TASTES = [
    ("Tents and shelters", "Sleeping"),
    ("Shoes", "Trousers and base layers"),
    ("Climbing", "Climbing"),
    ("Jackets", "Packs"),
    ("Cooking", "Light and navigation"),
]
STAPLES = [
    "Gas cartridge 230 g",
    "Oat and berry energy bar",
    "Electrolyte tablets",
    "Loose chalk 300 g",
    "Running socks",
]
PAIRS = [
    ("Two-person mountain tent", "Tent footprint groundsheet"),
    ("Leather hiking boots", "Wax for leather boots"),
    ("Climbing shoes", "Chalk bag"),
    ("Waterproof shell jacket", "Wash-in waterproofing"),
    ("Trekking backpack 60 litres", "Rain cover for backpacks"),
]


def rows():
    """`(department, label, maker, price, sizes)` of every product."""
    for department, block in DEPARTMENTS.items():
        for line in filter(None, map(str.strip, block.splitlines())):
            label, maker, price, sizes = (part.strip() for part in line.split(";"))
            yield department, label, maker, price, [""] if sizes == "-" else sizes.split(", ")
