"""What the bazaar sells: category, then `Persian title | English title | price in thousand rial`."""

CATEGORIES = {
    "rugs": ("فرش و گلیم", "Rugs and kilims"),
    "tea": ("چای و قهوه", "Tea and coffee"),
    "spices": ("زعفران و ادویه", "Saffron and spices"),
    "nuts": ("خشکبار", "Nuts and dried fruit"),
    "books": ("کتاب", "Books"),
    "kitchen": ("آشپزخانه", "Kitchen"),
    "clothes": ("پوشاک و چرم", "Clothes and leather"),
    "crafts": ("صنایع دستی", "Handicrafts"),
}

DESCRIPTIONS = {
    "rugs": (
        "بافته‌شده با پشم طبیعی و رنگ گیاهی، برای اتاق نشیمن.",
        "Woven of wool in plant dyes for a living room.",
    ),
    "tea": ("تازه بسته‌بندی شده، با عطر و طعم ماندگار.", "Freshly packed, with a lasting scent."),
    "spices": ("خالص و بدون افزودنی، برای غذاهای ایرانی.", "Pure, without additives, for Persian dishes."),
    "nuts": ("محصول باغ‌های ایران، برداشت امسال.", "From the orchards of Iran, this year's harvest."),
    "books": ("چاپ تازه با جلد سخت و مقدمه ویراستار.", "A new hardcover edition with an introduction."),
    "kitchen": ("ساخت دست استادکاران، شست‌وشو با دست.", "Made by master craftsmen; wash by hand."),
    "clothes": ("دوخت ایران، در چند اندازه.", "Sewn in Iran, in several sizes."),
    "crafts": (
        "کار دست هنرمندان اصفهان، هدیه‌ای ماندگار.",
        "Made by artists of Isfahan, a lasting gift.",
    ),
}

GOODS = {
    "rugs": """
        فرش دستباف تبریز شش متری | Hand-knotted Tabriz rug, six metres | 185000
        فرش ماشینی کاشان طرح افشان | Machine-made Kashan carpet, Afshan pattern | 42000
        قالیچه ابریشمی قم | Silk Qom rug, small | 96000
        گلیم قشقایی دورو | Reversible Qashqai kilim | 21000
        گبه پشمی شیراز | Woollen Shiraz gabbeh | 38000
        جاجیم دستباف اردبیل | Hand-woven Ardabil jajim | 16500
        پادری پشمی راه‌راه | Striped woollen doormat | 2900
        زیرفرشی ضد لغزش | Anti-slip rug underlay | 1800
        شامپو فرش و موکت | Carpet shampoo | 950
        رومیزی ترمه یزد | Yazd termeh tablecloth | 8700
        کوسن گلیم‌بافت | Kilim cushion | 3400
        سجاده مخمل با طرح محراب | Velvet prayer mat with a mihrab | 2600
    """,
    "tea": """
        چای سیاه بهاره لاهیجان | Lahijan spring black tea | 1450
        چای سبز قلم لاهیجان | Lahijan green tea | 1600
        چای ارل گری معطر | Scented Earl Grey tea | 1300
        دمنوش گل گاوزبان و لیموعمانی | Borage and dried lime infusion | 1150
        دمنوش بابونه و به‌لیمو | Camomile and verbena infusion | 980
        قهوه عربیکا برزیل آسیاب‌شده | Ground Brazilian arabica coffee | 3900
        قهوه ترک با هل | Turkish coffee with cardamom | 2700
        دانه قهوه اتیوپی | Ethiopian coffee beans | 4600
        نبات زعفرانی شاخه‌ای | Saffron rock candy on sticks | 1250
        قند شکسته اصفهان | Isfahan broken sugar cubes | 620
        قوری چینی گل‌سرخی | Porcelain teapot with roses | 3300
        سماور برقی استیل | Electric steel samovar | 24500
    """,
    "spices": """
        زعفران سرگل مشهد یک مثقال | Mashhad sargol saffron, one mesghal | 9800
        زعفران نگین قائنات | Qaenat negin saffron | 12400
        زردچوبه آسیاب‌شده | Ground turmeric | 480
        دارچین سیلان چوبی | Ceylon cinnamon sticks | 690
        هل سبز درشت | Large green cardamom | 2200
        زیره سیاه کرمان | Kerman black cumin | 1900
        سماق قهوه‌ای تبریز | Tabriz brown sumac | 560
        فلفل سیاه دانه‌ای | Whole black peppercorns | 740
        گلپر کوبیده | Ground Persian hogweed | 520
        ادویه پلویی ممتاز | Rice spice blend | 650
        نعنا خشک کوهی | Dried wild mint | 430
        گلاب دوآتشه قمصر کاشان | Double-distilled Qamsar rose water | 880
    """,
    "nuts": """
        پسته اکبری خام رفسنجان | Raw Akbari pistachios from Rafsanjan | 7200
        پسته احمدآقایی شور | Salted Ahmad Aghaei pistachios | 6900
        بادام درختی منقا | Shelled almonds | 5100
        گردوی تویسرکان با پوست | Tuyserkan walnuts in the shell | 3700
        فندق اشکورات | Eshkevar hazelnuts | 4800
        انجیر خشک استهبان | Estahban dried figs | 3100
        خرمای مضافتی بم | Bam mazafati dates | 1700
        کشمش پلویی قزوین | Qazvin raisins for rice | 1500
        توت خشک سفید | Dried white mulberries | 2300
        برگه زردآلوی شاهرود | Shahrud dried apricots | 2500
        تخمه آفتابگردان بوداده | Roasted sunflower seeds | 1100
        لواشک آلوی ترش | Sour plum fruit leather | 850
    """,
    "books": """
        دیوان حافظ با مینیاتور | Divan of Hafez with miniatures | 4200
        شاهنامه فردوسی دوجلدی | Shahnameh of Ferdowsi, two volumes | 7600
        گلستان سعدی | Golestan of Saadi | 2400
        رباعیات خیام دوزبانه | Quatrains of Khayyam, bilingual | 2100
        مثنوی معنوی مولوی | Masnavi of Rumi | 6800
        بوف کور صادق هدایت | The Blind Owl by Sadegh Hedayat | 1350
        سووشون سیمین دانشور | Savushun by Simin Daneshvar | 1950
        قصه‌های مجید برای نوجوانان | Stories of Majid for young readers | 1750
        ماهی سیاه کوچولو | The Little Black Fish | 690
        آشپزی ایرانی رزا منتظمی | Persian cookery by Rosa Montazemi | 5400
        تاریخ هنر ایران | A history of Iranian art | 8900
        آموزش خط نستعلیق | Learn nastaliq calligraphy | 2800
    """,
    "kitchen": """
        قابلمه مسی زنجان | Zanjan copper pot | 18500
        ماهیتابه چدنی | Cast-iron frying pan | 9700
        دیزی سنگی مشهد | Mashhad stone pot for dizi | 6400
        کاسه سفالی لالجین | Lalejin pottery bowl | 1900
        بشقاب سرامیکی فیروزه‌ای | Turquoise ceramic plate | 1600
        استکان کمرباریک شش عددی | Six slim-waisted tea glasses | 2300
        سینی استیل چای | Steel tea tray | 3600
        هاون برنجی | Brass mortar | 5200
        چاقوی زنجان دسته چوبی | Zanjan knife with a wooden handle | 4100
        آبکش روحی برنج | Rice colander | 1700
        سفره پارچه‌ای قلمکار | Block-printed table spread | 4900
        کفگیر چوبی پلو | Wooden rice skimmer | 540
    """,
    "clothes": """
        شال پشمی بلوچی | Baluchi woollen shawl | 4400
        روسری ابریشمی گل‌دار | Flowered silk headscarf | 6100
        مانتوی نخی تابستانی | Cotton summer manteau | 8300
        پیراهن کتان مردانه | Men's linen shirt | 6700
        کیف چرم دوشی زنانه | Women's leather shoulder bag | 19800
        کیف پول چرم مردانه | Men's leather wallet | 5300
        کفش چرم مردانه تبریز | Men's leather shoes from Tabriz | 16900
        گیوه سنتی کرمانشاه | Traditional Kermanshah giveh shoes | 7400
        کمربند چرم طبیعی | Leather belt | 3900
        جوراب پشمی دستباف | Hand-knitted woollen socks | 1200
        کلاه نمدی قشقایی | Qashqai felt hat | 2700
        دستکش بافتنی زمستانی | Knitted winter gloves | 1500
    """,
    "crafts": """
        جعبه خاتم‌کاری اصفهان | Isfahan khatam inlaid box | 11200
        گلدان میناکاری آبی | Blue enamelled vase | 14600
        بشقاب میناکاری دیواری | Enamelled wall plate | 9900
        تابلوی خوشنویسی نستعلیق | Nastaliq calligraphy panel | 13500
        آینه و شمعدان نقره | Silver mirror and candlesticks | 68000
        جاکلیدی فیروزه‌کوبی | Turquoise inlaid key ring | 1900
        قلمدان نقاشی لاکی | Lacquer pen case | 7700
        شطرنج خاتم شیراز | Shiraz khatam chess set | 22500
        گردنبند عقیق یمن | Agate necklace | 5600
        انگشتر فیروزه نیشابور | Nishapur turquoise ring | 15800
        سنتور آموزشی | Santur for learners | 46000
        شمع دست‌ساز با گل خشک | Handmade candle with dried flowers | 1300
    """,
}

PAIRS = [  # what is bought together, by category and place
    (("rugs", 0), ("rugs", 7)),
    (("tea", 0), ("tea", 8)),
    (("kitchen", 2), ("spices", 2)),
    (("books", 11), ("crafts", 6)),
    (("clothes", 6), ("clothes", 8)),
]
STAPLES = [("tea", 0), ("tea", 5), ("spices", 0), ("nuts", 0), ("nuts", 6), ("spices", 11)]
"""What people run out of and buy again."""


def rows():
    """`(slug, category, number, Persian title, English title, rial)` of every product."""
    for category, block in GOODS.items():
        for number, line in enumerate(filter(None, map(str.strip, block.splitlines()))):
            persian, english, thousands = (part.strip() for part in line.split("|"))
            yield f"{category}-{number + 1}", category, number, persian, english, int(thousands) * 1000
