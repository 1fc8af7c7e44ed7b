"""Looks at a page as people do: wide and narrow, in light and in dark; pictures of it where somebody wants them."""

from __future__ import annotations

import io
import os
from pathlib import Path

from django.contrib.auth.models import User
from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.demo.test_browser import Browser, wait_for

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
TALLEST = 2_400
N_COLOURS = 64


def every_look(browser: Browser, name: str) -> None:
    """No look is wider than its screen; where the environment names a folder in PICTURES, each becomes a file there."""
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.resize(width)
            browser.prefer(scheme)
            overflow = browser.driver.execute_script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, f"{name} is {overflow} px too wide at {width}"
            _picture(browser, f"{name}-{width}-{scheme}")
    browser.resize(WIDTHS[0])
    browser.prefer(SCHEMES[0])


def _picture(browser: Browser, name: str) -> None:
    folder = os.environ.get("PICTURES")
    if not folder:
        return
    height = browser.driver.execute_script("return document.documentElement.scrollHeight")
    width = browser.driver.execute_script("return window.innerWidth")
    metrics = {"width": width, "height": min(height, TALLEST), "deviceScaleFactor": 1, "mobile": width < 600}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(N_COLOURS, dither=Image.Dither.NONE).save(Path(folder) / f"{name}.png", optimize=True)


def sign_in(browser: Browser, path: str, name: str = "admin") -> None:
    """As a superuser of that name, who is made where there is none."""
    if not User.objects.filter(username=name).exists():
        User.objects.create_superuser(name, f"{name}@example.com", name)
    browser.driver.delete_all_cookies()
    browser.visit(f"/admin/login/?next={path}")
    browser.first("#id_username").send_keys(name)
    browser.first("#id_password").send_keys(name, Keys.ENTER)
    wait_for(lambda: path in browser.driver.current_url, what=path)
