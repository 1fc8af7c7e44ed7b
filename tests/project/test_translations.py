"""Shoppers read the language of the page, and merchandisers theirs, in each of the shipped languages."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path
from typing import Any

import pytest
from django.template import RequestContext, Template
from django.test import Client
from django.utils import translation
from django.utils.translation.template import templatize

from tests.conftest import DemoShop, request_of

APP = Path(__file__).resolve().parents[2] / "recommender"
LANGUAGES = ("de", "es", "fa", "fr", "zh_Hans")
COMPLETE = ("de", "zh_Hans")
"""Languages in which the admin, the checks and the commands speak too."""

SINGULAR = {"_", "gettext", "gettext_lazy"}
IN_CONTEXT_OF = "\x04"
"""What stands between a context and its text in a compiled catalogue."""

PLURAL = {"ngettext", "ngettext_lazy"}
IN_CONTEXT = {"pgettext", "pgettext_lazy"}
LITERAL = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
PLACEHOLDER = re.compile(r"%(?:\([a-z_]+\))?[-+#0 ]*[\d.]*[a-z]")
MODULES = tuple(APP / name for name in ("serving/explain.py", "serving/filters.py", "templatetags/recommender.py"))


def texts_for_shoppers() -> set[str]:
    """The texts of headings, reasons, notices and templates, as the source has them."""
    in_code = [re.findall(r'\b(?:_|ngettext)\(\s*"([^"]+)"', module.read_text()) for module in MODULES]
    templates = [*(APP / "templates" / "recommender").glob("*.html")]
    in_templates = [re.findall(r'\{% translate "([^"]+)"', template.read_text()) for template in templates]
    return {text for texts in (*in_code, *in_templates) for text in texts}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_for_shoppers_is_translated_and_compiled(language: str) -> None:
    folder = APP / "locale" / language / "LC_MESSAGES"
    with (folder / "django.mo").open("rb") as compiled:
        catalogue = gettext.GNUTranslations(compiled)
    texts = texts_for_shoppers()
    assert len(texts) > 30
    missing = [text for text in texts if catalogue.gettext(text) == catalogue.ngettext(text, text, 1) == text]
    assert not missing
    source = (folder / "django.po").read_text()
    written = {texts[0]: translated[0] for texts, translated, _flags in entries(source) if len(texts) == 1 and texts[0]}
    assert len(written) > 30
    assert {text: catalogue.gettext(text) for text in written} == written, "compile it: make messages"


def entries(source: str) -> list[tuple[list[str], list[str], str]]:
    """The texts of each entry of a .po file (one, or singular and plural), their translations, and the flags."""
    parts = []
    for block in source.split("\n\n"):
        strings = re.findall(r'^(msgid|msgid_plural|msgstr)(?:\[\d\])? ((?:".*"\n?)+)', block, re.MULTILINE)
        joined = [(name, "".join(map(ast.literal_eval, quoted.splitlines()))) for name, quoted in strings]
        flags = " ".join(re.findall(r"^#, (.*)$", block, re.MULTILINE))
        ids, translated = ([text for name, text in joined if name.startswith(kind)] for kind in ("msgid", "msgstr"))
        context = re.findall(r'^msgctxt "(.*)"$', block, re.MULTILINE)
        ids = [f"{context[0]}{IN_CONTEXT_OF}{text}" for text in ids] if context else ids
        parts.append((ids, translated, flags))
    return parts


def texts_of_module(source: str) -> set[str]:
    """Every literal that the module hands to gettext."""
    texts = set()
    for node in ast.walk(ast.parse(source)):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        places = slice(0, 1) if name in SINGULAR else slice(0, 2) if name in PLURAL else slice(1, 2)
        is_wrapped = name in SINGULAR | PLURAL | IN_CONTEXT
        for argument in node.args[places] if is_wrapped else ():  # type: ignore[attr-defined]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                texts.add(argument.value)
    return texts


def texts_of_template(source: str) -> set[str]:
    """Every literal of a translating tag, as Django's own makemessages sees it."""
    calls = re.findall(rf"\b(?:n?gettext|_)\(\s*u?({LITERAL})(?:\s*,\s*u?({LITERAL}))?", templatize(source))
    return {ast.literal_eval(text) for texts in calls for text in texts if text}


def texts_of_the_app() -> set[str]:
    folders = [path for path in APP.rglob("*.py") if "migrations" not in path.parts]
    in_code = [texts_of_module(path.read_text()) for path in folders]
    in_templates = [texts_of_template(path.read_text()) for path in APP.rglob("*.html")]
    return {text for texts in (*in_code, *in_templates) for text in texts}


@pytest.mark.parametrize("language", COMPLETE)
def test_every_text_of_the_app_is_translated(language: str) -> None:
    source = (APP / "locale" / language / "LC_MESSAGES" / "django.po").read_text()
    complete = [texts for texts, strings, _flags in entries(source) if all(strings)]
    translated = {text.rpartition(IN_CONTEXT_OF)[2] for texts in complete for text in texts}
    texts = texts_of_the_app()
    assert len(texts) > 1_500
    missing = sorted(texts - translated)
    assert not missing, f"{len(missing)} texts lack {language}:\n" + "\n".join(map(repr, missing))


@pytest.mark.parametrize("language", COMPLETE)
def test_no_translation_is_a_guess_or_loses_a_placeholder(language: str) -> None:
    source = (APP / "locale" / language / "LC_MESSAGES" / "django.po").read_text()
    assert not [texts for texts, _strings, flags in entries(source) if "fuzzy" in flags]
    n_plurals = 1 if language == "zh_Hans" else 2
    formatted = [entry for entry in entries(source) if "python-format" in entry[2].split(", ")]
    assert len(formatted) > 300
    for texts, strings, _flags in formatted:
        assert len(strings) == (n_plurals if len(texts) == 2 else 1)
        wanted = [sorted(PLACEHOLDER.findall(text.replace("%%", ""))) for text in texts]
        for string in strings:
            assert sorted(PLACEHOLDER.findall(string.replace("%%", ""))) in wanted, string


def test_texts_of_code_and_templates_are_seen() -> None:
    code = (
        'a = _("one %s")\nngettext("a day", "%d days", n)\npgettext("of", "May")\nother("no")\ngettext("long " "text")'
    )
    assert texts_of_module(code) == {"one %s", "a day", "%d days", "long text", "May"}
    template = """{% load i18n %}{% translate "Save" %}{{ a|default:_("all") }}
        {% blocktranslate count n=n %}{{ n }} row{% plural %}{{ n }} rows{% endblocktranslate %}"""
    assert texts_of_template(template) == {"Save", "all", "%(n)s row", "%(n)s rows"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "heading", "results"),
    [("de", "Gerade beliebt", "Ergebnis"), ("fr", "Tendances du moment", "résultat"), ("zh-hans", "正在流行", "个结果"),
     ("fa", "پرطرفدار", "نتیجه"), ("es", "Tendencias", "resultado")],
)  # fmt: skip
def test_headings_and_results_are_in_the_language_of_the_page(
    demo_shop: DemoShop, language: str, heading: str, results: str
) -> None:
    request = request_of(path="/?q=bag")
    template = Template('{% load recommender %}{% recommendations "trending" limit=2 %}{% search %}')
    with translation.override(language):
        html = template.render(RequestContext(request, {"request": request}))
    assert heading in html
    assert results in html
    assert not re.search(r"Trending now|Popular in|results? for|Selling faster|From our range", html)


@pytest.mark.django_db
def test_list_that_loads_late_has_the_language_of_its_page(demo_shop: DemoShop, settings: Any) -> None:
    with translation.override("de"):
        placeholder = Template('{% load recommender %}{% lazy_recommendations "trending" limit=2 %}').render(
            RequestContext(None)
        )
    (source,) = re.findall(r'data-recommender-src="([^"]+)"', placeholder)
    html = Client().get(source.replace("&amp;", "&")).content.decode()
    assert "Gerade beliebt" in html
    assert "Trending now" in Client().get("/recommender/blocks/trending?language=xx").content.decode()
