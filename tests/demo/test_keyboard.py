"""A merchandiser without a mouse writes a rule, and a colleague publishes it; the focus is always seen."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from recommender import pipeline, serving
from recommender.models import Rule
from tests.demo.test_browser import Browser, browser, wait_for

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MOST_STEPS = 150
STYLES = ["borderColor", "backgroundColor", "boxShadow", "textDecorationLine", "color"]
FOCUS = """
const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
const before = window.unfocused && window.unfocused.get(one);
const outlined = style.outlineStyle != "none" && parseFloat(style.outlineWidth) > 0;
const changed = !before || arguments[0].some(name => before[name] != style[name]);
return {tag: one.tagName, name: one.name || "",
  text: (one.type == "submit" ? one.value || one.textContent : one.textContent).trim(),
  seen: box.width > 0 && box.height > 0 && (outlined || changed), inside: box.bottom > 0 && box.top < innerHeight};
"""
REMEMBER = """
const all = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
const look = one => Object.fromEntries(arguments[0].map(name => [name, getComputedStyle(one)[name]]));
window.unfocused = new Map([...all].map(one => [one, look(one)]));
window.unfocused.delete(document.activeElement);
"""


class Keyboard:
    """Presses keys alone, and refuses a focus that nobody sees."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def press(self, *keys: str) -> None:
        chain = ActionChains(self.browser.driver)
        chain.send_keys(*keys).perform()

    def focus(self) -> dict[str, Any]:
        focus: dict[str, Any] = self.browser.driver.execute_script(FOCUS, STYLES)
        return focus

    def walk_to(self, *, field: str = "", text: str = "") -> None:
        """Press Tab until the field, or what has the text, has the focus."""
        self.browser.driver.execute_script(REMEMBER, STYLES)
        passed: list[str] = []
        for _step in range(MOST_STEPS):
            focus = self.focus()
            if focus["tag"] != "BODY":
                assert focus["seen"], f"the focus on {focus} is not seen"
                assert focus["inside"], f"the focus on {focus} is outside of the window"
                if (field and focus["name"] == field) or (text and focus["text"] == text):
                    return
            passed.append(focus["name"] or focus["text"])
            self.press(Keys.TAB)
        pytest.fail(f"no Tab leads to {field or text}: {passed}")

    def choose(self, field: str, value: str) -> None:
        """Walk to a select and press the arrow until it has the value."""
        self.walk_to(field=field)
        for _step in range(30):
            if self.browser.first(f"#id_{field}").get_attribute("value") == value:
                return
            self.press(Keys.ARROW_DOWN)
        pytest.fail(f"no arrow leads to {value} in {field}")

    def sign_in(self, name: str, path: str) -> None:
        self.browser.driver.delete_all_cookies()
        self.browser.visit(f"/admin/login/?next={path}")
        self.walk_to(field="username")
        self.press(name)
        self.walk_to(field="password")
        self.press("secret", Keys.ENTER)
        wait_for(lambda: path in self.browser.driver.current_url, what=path)

    def follow(self, text: str, *, key: str = Keys.ENTER) -> None:
        """Walk to a link or a button and press it; the page changes."""
        before = self.browser.driver.execute_script("return performance.timeOrigin")
        self.walk_to(text=text)
        self.press(key)
        wait_for(
            lambda: self.browser.driver.execute_script(
                "return document.readyState == 'complete' && performance.timeOrigin"
            ) not in (False, before),
            what=f"the page after {text}",
        )  # fmt: skip


def person(name: str, *permissions: str) -> None:
    user = User.objects.create_user(name, password="secret", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))


def test_rule_is_written_and_published_with_the_keyboard_alone(browser: Browser) -> None:
    serving.reload()
    last = pipeline.recommend("home", limit=10).entries[-1]
    person("editor", "view_rule", "add_rule", "change_rule")
    person("publisher", "view_rule", "publish_rule")
    keyboard = Keyboard(browser)

    keyboard.sign_in("editor", "/admin/recommender/rule/")
    keyboard.follow("Add rule")
    keyboard.walk_to(field="name")
    keyboard.press("Bells first")
    keyboard.choose("action", "pin")
    keyboard.walk_to(field="item_ids")
    keyboard.press(last.item_id)
    keyboard.walk_to(field="position")
    keyboard.press("1")
    keyboard.choose("slot", "home")
    keyboard.follow("Save")
    assert "/look/" in browser.driver.current_url
    assert "by this rule" in browser.first(".rec-columns-2").text
    keyboard.follow("Submit for review")
    keyboard.follow("Submit for review", key=Keys.SPACE)
    rule = Rule.objects.get()
    assert rule.state == "review"

    keyboard.sign_in("publisher", "/admin/recommender/rule/")
    keyboard.follow("Bells first")
    keyboard.follow("Publish")
    keyboard.follow("Publish", key=Keys.SPACE)
    rule.refresh_from_db()
    assert (rule.state, rule.reviewed_by.username) == ("live", "publisher")


def test_focus_that_nobody_sees_is_refused(browser: Browser) -> None:
    person("editor", "view_rule")
    keyboard = Keyboard(browser)
    keyboard.sign_in("editor", "/admin/recommender/rule/")
    looks = "outline: none; border: 0; background: none; color: #000; box-shadow: none; text-decoration: none"
    css = f"*, *:focus {{{looks.replace(';', ' !important;')} !important}}"
    browser.driver.execute_script(
        "document.head.append(Object.assign(document.createElement('style'), {textContent: arguments[0]}))", css
    )
    with pytest.raises(AssertionError, match="is not seen"):
        keyboard.walk_to(text="nowhere")
