"""The house rules that a reader relies on, held against the code itself. CONTRIBUTING.md gives the reasons."""

import ast
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.source import ROOT, modules, name_of, tracked, tree

FILE_LINES = 300
MODELS_LINES = 500
FUNCTION_LINES = 40
TEST_FUNCTION_LINES = 60
# Up to here a function can be read without being told what it does.
UNDOCUMENTED_LINES = 12
# What these are for, Django decides, and says.
DJANGOS_OWN = {"__init__.py", "apps.py", "urls.py", "wsgi.py", "asgi.py", "models.py", "admin.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def too_long(paths: list[Path], limit: int) -> list[str]:
    return [
        f"{name_of(path)}: {function.name} has {length} lines"
        for path in paths
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > limit
    ]


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules()}
    limits = {name: MODELS_LINES if name.endswith("/models.py") else FILE_LINES for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > limits[name]} == {}


def test_functions_are_short() -> None:
    assert too_long(modules(), FUNCTION_LINES) == []


def test_tests_are_short() -> None:
    assert too_long(modules("tests"), TEST_FUNCTION_LINES) == []


def test_files_are_named_by_what_they_hold() -> None:
    vague = {"utils", "util", "helpers", "helper", "services", "service", "misc", "common", "managers"}
    # A service of the tests is a server that they start.
    parts = {name_of(path): {*path.relative_to(ROOT).with_suffix("").parts} for path in modules()}
    assert {name for name, words in parts.items() if words & vague} == set()


def test_imports_are_at_the_top() -> None:
    inside = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def test_nothing_is_ever_unpickled() -> None:
    pickles = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    assert [name_of(path) for path in modules() if imported(path) & pickles] == []


def test_our_apps_send_each_other_no_signals() -> None:
    assert [name_of(path) for path in modules() if any("django.dispatch" in name for name in imported(path))] == []


def is_public(node: ast.AST) -> bool:
    return not getattr(node, "name", "_").startswith("_")


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in modules()
        if path.name not in DJANGOS_OWN
        and "commands" not in path.parts  # a command has `help`
        and len(path.read_text().splitlines()) > UNDOCUMENTED_LINES
        and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_every_class_that_inherits_nothing_says_what_it_is() -> None:
    silent = [
        f"{name_of(path)}: {node.name}"
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and is_public(node) and not node.bases and node.name not in {"Meta", "Media"}
        if not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_command_has_a_help_text() -> None:
    commands = [path for path in modules() if path.parent.name == "commands" and path.name != "__init__.py"]
    assert commands
    assert [name_of(path) for path in commands if not re.search(r"^    help = ", path.read_text(), re.M)] == []


def top_level_functions(path: Path) -> list[Function]:
    return [node for node in tree(path).body if isinstance(node, Function) and is_public(node)]


def test_every_long_function_says_what_it_does() -> None:
    silent = [
        f"{name_of(path)}: {function.name}"
        for path in modules()
        for function in top_level_functions(path)
        if (function.end_lineno or 0) - function.lineno >= UNDOCUMENTED_LINES and not ast.get_docstring(function)
    ]
    assert silent == []


def our_errors() -> set[str]:
    return {
        node.name
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and re.search(r"Error|Exception|Refusal|Invalid", " ".join(map(ast.unparse, node.bases)))
    }


def raised(function: Function) -> set[str]:
    calls = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc]
    return {ast.unparse(call.func if isinstance(call, ast.Call) else call).split(".")[-1] for call in calls}


def test_a_function_says_which_of_our_errors_it_raises() -> None:
    errors = our_errors()
    silent = [
        f"{name_of(path)}: {function.name} raises {error}"
        for path in modules()
        for function in top_level_functions(path)
        for error in raised(function) & errors
        if error not in (ast.get_docstring(function) or "")
    ]
    assert errors >= {"Refusal", "Invalid", "JobError", "BackendError", "AlreadyMoved", "ContextTooSmall"}
    assert silent == []


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of one machine, no host that packages came from, no system that was there before."""
    # In pieces, so that this file passes its own test.
    foreign = ["/wo" + "rk/", "/ro" + "ot/", "Lara" + "vel", "Hori" + "zon", "pythonhosted" + ".org", "py" + "pi.org",
               "index" + "-url = ", "extra-" + "index", "bash_" + "jobs", "art" + "isan"]  # fmt: skip
    pattern = re.compile("|".join(map(re.escape, foreign)), re.IGNORECASE)
    found = {}
    for path in tracked():
        try:
            match = pattern.search(path.read_text())
        except UnicodeDecodeError:
            continue
        if match:
            found[name_of(path)] = match.group()
    assert found == {}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    out = StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    assert "No changes" in out.getvalue()
