"""Do the tests notice when the code is wrong? Changes the code in small ways and counts the changes that they catch.

Each mutant (a `<` that became `<=`, a `+ 1` that became `+ 2`, an argument that became None) is run against the tests
that reach its function. Needs `pip install mutmut`. Prints one row for each group and its share beside the limit.

    python -m benchmarks.mutation                          every group, every mutant: hours
    python -m benchmarks.mutation --group gate --show      one group, with the mutants that survived
    python -m benchmarks.mutation --sample 60              at most 60 mutants of each group, drawn by --seed
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 0.85
"""Share of mutants that are to be killed."""

COPIED = ("benchmarks", "docs", "shopreco", "templates", "CHANGELOG.md", "README.md", "manage.py", "constraints.txt")

KILLED, SURVIVED, NO_TEST = "killed", "survived", "no test"
CODES = {0: SURVIVED, 5: SURVIVED, 33: NO_TEST, 34: "skipped"}
"""mutmut's exit codes; every other one, a failed test, a time-out or a crash, is a mutant that was noticed."""


@dataclass(frozen=True, slots=True)
class Group:
    """A subject of the code: the files that are mutated and the tests that must notice."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = (
    Group("gate", ("recommender/training/judging/gate.py",), ("tests/training/test_gate.py",)),
    Group(
        "capture",
        (
            "recommender/capture/__init__.py", "recommender/capture/checking.py", "recommender/capture/attribution.py",
            "recommender/capture/visitors.py", "recommender/capture/storage.py",
        ),
        (
            "tests/capture/test_capture.py", "tests/capture/test_checking.py", "tests/capture/test_attribution.py",
            "tests/capture/test_visitors.py", "tests/capture/test_storage.py", "tests/capture/test_order_consent.py",
            "tests/capture/test_transactions.py", "tests/api/test_claims.py",
        ),
    ),
    Group(
        "identity",
        (
            "recommender/identity/bots.py", "recommender/identity/consent.py", "recommender/identity/cookies.py",
            "recommender/identity/linking.py", "recommender/identity/shopper.py", "recommender/identity/users.py",
        ),
        ("tests/test_identity.py", "tests/test_middleware.py"),
    ),
    Group(
        "fusion and policy",
        ("recommender/retrieval/fusion.py", "recommender/serving/policy.py"),
        ("tests/retrieval/test_fusion.py", "tests/serving/test_policy.py"),
    ),
    Group("metrics", ("recommender/ml/metrics.py",), ("tests/ml/test_metrics.py",)),
    Group("cleaning", ("recommender/datasets/cleaning.py",), ("tests/datasets/test_datasets.py",)),
    Group(
        "life of a run",
        ("recommender/runs/__init__.py", "recommender/runs/supervision.py"),
        ("tests/runs/test_runs.py", "tests/runs/test_supervision.py"),
    ),
)  # fmt: skip

SETTINGS = """[mutmut]
source_paths=recommender
only_mutate={files}
pytest_add_cli_args_test_selection={tests}
pytest_add_cli_args=-p
    no:cacheprovider
also_copy={copied}
process_isolation=fork
timeout_constant=5
use_git_change_detection=false
"""

OWN_DATABASE = '''

@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Each mutant runs in a process of its own, forked after the settings were read: give it its own database."""
    database = django_settings.DATABASES["default"]
    database.setdefault("TEST", {})["NAME"] = f"{database['NAME']}-{os.getpid()}"
'''

KEPT_FOLDER = """

def pytest_unconfigure() -> None:
    pass  # the forked processes of the mutants go on in this folder
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    groups = [group for group in GROUPS if options.group in (None, group.name)]
    if not groups:
        sys.exit(f"No group {options.group!r}; there are: {', '.join(group.name for group in GROUPS)}.")
    print(f"{'group':<20}{'mutants':>9}{'run':>7}{'killed':>8}{'share':>8}   limit {LIMIT:.2f}")
    counts = [_measure(group, options) for group in groups]
    n_run, n_killed = (sum(column) for column in zip(*counts, strict=True))
    print(f"{'all':<20}{'':>9}{n_run:>7}{n_killed:>8}{n_killed / max(n_run, 1):>8.3f}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", help="only this one")
    parser.add_argument("--sample", type=int, help="at most so many mutants of each group")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print the mutants that survived, as differences")
    return parser


def _measure(group: Group, options: argparse.Namespace) -> tuple[int, int]:
    """Run the mutants of one group in a copy of the project; return how many ran and how many were killed."""
    missing = [path for path in (*group.files, *group.tests) if not (ROOT / path).exists()]
    if missing:
        sys.exit(f"{', '.join(missing)}: moved? Correct GROUPS in benchmarks/mutation.py.")
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder)
        _prepare(group, copy)
        names = _mutants_of(copy, options.processes)
        drawn = names
        if options.sample is not None and options.sample < len(names):
            drawn = sorted(random.Random(options.seed).sample(names, options.sample))
        _mutmut(copy, "run", "--max-children", str(options.processes), *drawn)
        outcomes = {
            name: KILLED if code is None else CODES.get(code, KILLED)
            for name, code in _exit_codes(copy).items()
            if name in set(drawn)
        }
        n_killed = sum(outcome == KILLED for outcome in outcomes.values())
        share = n_killed / max(len(drawn), 1)
        print(f"{group.name:<20}{len(names):>9}{len(drawn):>7}{n_killed:>8}{share:>8.3f}", flush=True)
        if options.show:
            _show(copy, outcomes)
    return len(drawn), n_killed


def _prepare(group: Group, copy: Path) -> None:
    for name in ("recommender", "tests", "pyproject.toml", *COPIED):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    for name, addition in (("conftest.py", OWN_DATABASE), ("environment.py", KEPT_FOLDER)):
        with (copy / "tests" / name).open("a") as file:
            file.write(addition)
    lists = {"files": group.files, "tests": group.tests, "copied": COPIED}
    settings = SETTINGS.format(**{name: "\n    ".join(("", *values)) for name, values in lists.items()})
    (copy / "setup.cfg").write_text(settings)


def _mutants_of(copy: Path, n_processes: int) -> list[str]:
    """Write the mutants and return their names."""
    _mutmut(copy, "print-time-estimates") if (copy / "mutants").exists() else _generate(copy, n_processes)
    return sorted(_exit_codes(copy))


def _generate(copy: Path, n_processes: int) -> None:
    code = (
        "import sys, pathlib; from mutmut import __main__ as m; pathlib.Path('mutants').mkdir(); m.copy_src_dir(); "
        f"m.copy_also_copy_files(); m.setup_source_paths(); m.create_mutants({n_processes})"
    )
    _run([sys.executable, "-c", code], copy)


def _exit_codes(copy: Path) -> dict[str, int | None]:
    codes: dict[str, int | None] = {}
    for file in (copy / "mutants" / "recommender").rglob("*.meta"):
        codes |= json.loads(file.read_text())["exit_code_by_key"]
    return codes


def _show(copy: Path, outcomes: dict[str, str]) -> None:
    for name, outcome in sorted(outcomes.items()):
        if outcome != KILLED:
            print(f"\n--- {outcome}: {name}")
            print(_mutmut(copy, "show", name))


def _mutmut(copy: Path, *arguments: str) -> str:
    return _run([str(Path(sys.executable).with_name("mutmut")), *arguments], copy)


def _run(command: list[str], copy: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
