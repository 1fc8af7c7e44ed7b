"""What is shipped: the wheel, the pinned versions, the containers and the commands of the README."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import recommender
from tests.project.test_settings import in_production

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = ("web", "worker", "trainer", "beat")


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def test_wheel_holds_only_the_app(wheel_names: list[str]) -> None:
    folders = {name.split("/")[0] for name in wheel_names}
    assert folders == {"recommender", f"shopreco-{recommender.__version__}.dist-info"}


def test_wheel_holds_every_file_of_the_app(wheel_names: list[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "recommender"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    missing = {name for name in listed if (ROOT / name).exists()} - set(wheel_names)
    assert len(listed) > 30
    assert not missing


@pytest.mark.parametrize("kind", ["templates/", "static/", "locale/", "py.typed"])
def test_wheel_holds_what_is_not_python(wheel_names: list[str], kind: str) -> None:
    assert any(name.startswith(f"recommender/{kind}") for name in wheel_names)


def test_wheel_has_the_migrations_and_the_licence(wheel_names: list[str]) -> None:
    assert any(re.match(r"recommender/migrations/0001_\w+\.py", name) for name in wheel_names)
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)


def test_core_needs_no_machine_learning() -> None:
    core = {Requirement(text).name.lower() for text in PROJECT["dependencies"]}
    assert core == {"django", "djangorestframework", "celery", "numpy", "scipy", "rapidfuzz"}


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins = pinned_versions()
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    for requirement in requirements:
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_constraints_are_exact_and_name_no_place() -> None:
    for line in constraint_lines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line), line


def test_every_service_has_a_health_check() -> None:
    long_running = set(COMPOSE["services"]) - {"setup"}
    assert long_running == {*OURS, "postgres", "cache", "broker"}
    for name in long_running:
        check = COMPOSE["services"][name]["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries"} <= set(check), name


def test_services_build_stages_that_exist() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for name in (*OURS, "setup"):
        assert COMPOSE["services"][name]["build"]["target"] in stages


def test_services_share_the_folder_of_bundles_and_wait_for_the_set_up() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["volumes"] == ["var:/var/lib/shopreco"]
        assert service["depends_on"]["setup"]["condition"] == "service_completed_successfully"
    assert {"var", "postgres", "broker"} == set(COMPOSE["volumes"])


def test_only_the_trainer_reserves_a_gpu_and_takes_training() -> None:
    commands = {name: COMPOSE["services"][name]["command"] for name in OURS}
    assert "--queues shopreco-training --pool solo" in commands["trainer"]
    assert "--queues shopreco-recommender" in commands["worker"]
    assert [name for name in OURS if "reservations" in resources(name)] == ["trainer"]


def resources(name: str) -> dict[str, Any]:
    limits: dict[str, Any] = COMPOSE["services"][name]["deploy"]["resources"]
    return limits


def test_no_service_takes_all_memory_or_fills_the_disk_and_every_one_restarts() -> None:
    for name, service in COMPOSE["services"].items():
        assert resources(name)["limits"]["memory"], name
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name
        assert service["restart"] == ("no" if name == "setup" else "unless-stopped"), name


def test_nothing_starts_with_a_secret_that_everybody_knows() -> None:
    text, example = (ROOT / "compose.yaml").read_text(), (ROOT / ".env.example").read_text()
    for name in ("DJANGO_SECRET_KEY", "POSTGRES_PASSWORD"):
        assert re.findall(rf"\$\{{{name}(:\?)?", text) == [":?"] * text.count(f"${{{name}"), name
    secrets = re.findall(r"^(\w*(?:SECRET|PASSWORD|TOKEN)\w*)=(.*)$", example, re.MULTILINE)
    assert dict(secrets) == {"DJANGO_SECRET_KEY": "", "POSTGRES_PASSWORD": "", "SHOPRECO_METRICS_TOKEN": ""}


def test_cache_may_forget_and_the_broker_may_not() -> None:
    environment = COMPOSE["services"]["web"]["environment"]
    assert (environment["REDIS_URL"], environment["BROKER_URL"]) == ("redis://cache:6379/0", "redis://broker:6379/0")
    cache, broker = COMPOSE["services"]["cache"], COMPOSE["services"]["broker"]
    assert "--maxmemory-policy allkeys-lru" in cache["command"]
    assert "volumes" not in cache
    assert "--appendonly yes" in broker["command"]
    assert "--maxmemory-policy noeviction" in broker["command"]
    assert broker["volumes"] == ["broker:/data"]


def test_health_check_passes_for_a_shop_with_a_name_and_tls(tmp_path: Path) -> None:
    check = " ".join(COMPOSE["services"]["web"]["healthcheck"]["test"])
    (address,) = re.findall(r"http://127\.0\.0\.1:8000(/\w+)", check)
    code = (
        "import django; django.setup(); from django.test import Client; "
        f"print([Client(SERVER_NAME=name).get('{address}').status_code for name in ('127.0.0.1', 'evil.example')])"
    )
    printed = in_production(tmp_path, "-c", code, DJANGO_ALLOWED_HOSTS="shop.example", SHOPRECO_TLS="1")
    assert printed == "[200, 400]\n"


def test_web_server_takes_its_options_has_threads_and_restarts_in_turn() -> None:
    command = shlex.split(COMPOSE["services"]["web"]["command"].replace("${WEB_WORKERS:-2}", "2"))
    in_image = json.loads((ROOT / "Dockerfile").read_text().rpartition("CMD ")[2].replace("\\\n", ""))
    assert command == in_image
    assert {"--threads", "--max-requests-jitter"} <= set(command)
    options = ["-m", *command, "--check-config"]
    ended = subprocess.run([sys.executable, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_processes_of_the_web_server_count_together() -> None:
    web = COMPOSE["services"]["web"]
    folder = web["environment"]["PROMETHEUS_MULTIPROC_DIR"]
    uid = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert web["tmpfs"] == [f"{folder}:uid={uid and uid[1]},mode=0700"]


def test_beat_remembers_its_schedule_over_restarts_and_starts_at_some_moment() -> None:
    beat = COMPOSE["services"]["beat"]
    script = beat["command"][-1]
    assert script.startswith("sleep $$(shuf -i 0-59 -n 1); exec celery")
    (schedule,) = re.findall(r"--schedule (\S+)", script)
    (folder,) = [volume.partition(":")[2] for volume in beat["volumes"]]
    assert schedule.startswith(f"{folder}/")
    assert f"find {folder} " in beat["healthcheck"]["test"][-1]


def test_every_variable_of_compose_has_an_example() -> None:
    example = (ROOT / ".env.example").read_text()
    for name in set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "compose.yaml").read_text())):
        assert re.search(rf"^{name}=", example, re.MULTILINE), name


def test_images_run_as_an_ordinary_user_and_copy_what_exists() -> None:
    text = (ROOT / "Dockerfile").read_text()
    final = [stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE) if "CMD" in stage]
    assert len(final) == 2
    assert all("USER shopreco" in stage for stage in final)
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines(), name


def test_commands_of_the_compose_file_exist() -> None:
    from django.core.management import get_commands

    script = COMPOSE["services"]["setup"]["command"][-1]
    assert set(re.findall(r"manage\.py (\w+)", script)) <= set(get_commands())


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pinned_versions() -> dict[str, str]:
    return {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in constraint_lines())
    }


def test_changelog_has_an_entry_for_this_version() -> None:
    assert f"## [{recommender.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def said_in(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module except docstrings."""
    tree = ast.parse(path.read_text())
    described = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.lineno, node.value


def test_messages_cite_nothing_that_is_not_in_the_wheel() -> None:
    """A shop installs the wheel, which contains neither docs/ nor the README."""
    app = ROOT / "recommender"
    cited = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in app.rglob("*.py")
        for line, text in said_in(path)
        if re.search(r"\bdocs/|\b[\w-]+\.(md|yaml)\b|README|CHANGELOG", text)
    ]
    cited += [
        str(path.relative_to(ROOT))
        for pattern in ("*.html", "*.js", "*.txt")
        for path in app.rglob(pattern)
        if re.search(r"\bdocs/|\b[\w-]+\.md\b|README", path.read_text())
    ]
    assert not cited


def test_the_proof_would_notice_a_citation(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""See docs/a.md."""\nraise ValueError(f"no {1}; see docs/b.md")\n')
    assert [text for _, text in said_in(module) if "docs/" in text] == ["; see docs/b.md"]
