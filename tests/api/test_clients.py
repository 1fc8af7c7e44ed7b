"""The client in JavaScript that the documentation offers, run by Node against a served shop."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from recommender import serving
from recommender.models import AppToken, Event, VisitorLink
from tests.conftest import DemoShop

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "docs" / "clients" / "recommender.mjs"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.django_db(transaction=True)
def test_javascript_client_walks_through_a_served_shop(live_server: Any, demo_shop: DemoShop, settings: Any) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["tests.api.test_tokens.Jwt"]}
    user = get_user_model().objects.create_user("ada")
    serving.reload()
    walk = [str(Path(__file__).with_name("client_walk.mjs")), CLIENT.as_uri()]
    command = ["node", *walk, f"{live_server.url}/recommender/api/v1/", f"Bearer {user.username}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    walked = json.loads(ended.stdout)
    assert walked["nVisitors"] == 1
    assert walked["failure"] == "fetch failed"
    assert (walked["receipt"]["accepted"], walked["receipt"]["warnings"]) == (1, [])
    assert walked["nRefreshes"] == 1
    assert walked["link"]["user"] == walked["profile"]["user"] == str(user.pk)
    assert walked["profile"]["counts"] == {"select_item": 1}
    assert walked["refusal"] == {"status": 400, "kind": "invalid-request"}
    assert Event.objects.get(type="select_item").position == 1
    assert VisitorLink.objects.get().authentication == "Jwt"
    assert AppToken.objects.get().revoked_at is not None
