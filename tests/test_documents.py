"""What the documents promise, held against the code."""

import ast
import operator
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import global_settings

from conversations import transitions
from conversations.models import Run, ToolCall
from maintenance.models import Attempt, Job
from tests.source import APPS, ROOT, documents, modules, name_of, rows, tree

DOCS = ROOT / "docs"
TURN = DOCS / "turn.md"
LIFECYCLE = DOCS / "job-lifecycle.md"
CONFIGURATION = DOCS / "configuration.md"
SETTINGS = ROOT / "chinese_worker" / "settings.py"


def code_in(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


# States


def test_the_states_of_a_run_are_those_of_the_code() -> None:
    documented = {code_in(state)[0]: set(code_in(targets)) for state, targets, *_ in rows(TURN, "States of a run")}
    assert documented == {str(state): set(map(str, to)) for state, to in transitions.TRANSITIONS.items()}
    assert set(documented) == set(Run.Status.values)


def test_the_statuses_of_a_tool_call_are_those_of_the_code() -> None:
    assert [code_in(row[0])[0] for row in rows(TURN, "Tool calls")] == ToolCall.Status.values


def test_the_states_of_a_job_are_those_of_the_code() -> None:
    assert [code_in(row[0])[0] for row in rows(LIFECYCLE, "States of a job")] == Job.Status.values


def test_the_transitions_of_a_job_are_between_its_states() -> None:
    named = {state for row in rows(LIFECYCLE, "Transitions of a job") for cell in row[:2] for state in code_in(cell)}
    assert named == set(Job.Status.values)


def test_the_outcomes_of_an_attempt_are_those_of_the_code() -> None:
    assert [code_in(row[0])[0] for row in rows(LIFECYCLE, "Outcomes of an attempt")] == Attempt.Outcome.values


# Places


def defined(path: Path) -> set[str]:
    """`start`, `Publisher`, `Publisher.close`: what a module defines."""
    names: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}.{one.name}" for one in inner if isinstance(one, ast.FunctionDef)}
    return names


def test_the_path_of_a_message_leads_through_functions_that_exist() -> None:
    missing = []
    for _, file, function, *_ in rows(TURN, "The path of one message"):
        (path,) = code_in(file)
        missing += [f"{path}: {name}" for name in code_in(function) if name not in defined(ROOT / path)]
    assert missing == []


def test_every_file_that_a_document_names_exists() -> None:
    ours = re.compile(rf"^(?:{'|'.join(APPS)}|tests|docs|templates|deploy|benchmarks|\.ci)/[\w./-]+$")
    named = {(name_of(document), text) for document in documents() for text in code_in(document.read_text())}
    assert {(where, text) for where, text in named if ours.match(text) and not (ROOT / text).exists()} == set()


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> Iterator[tuple[Path, str]]:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (document.parent / path).resolve() if path else document, anchor


def test_every_link_leads_somewhere() -> None:
    broken = []
    for document in documents():
        for path, anchor in links(document):
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{name_of(document)}: {path.name}#{anchor}")
    assert broken == []


def test_every_document_is_in_the_index() -> None:
    linked = {path for path, _ in links(DOCS / "index.md")}
    assert {path.name for path in DOCS.rglob("*.md")} - {path.name for path in linked} == {"index.md"}


# Commands


def test_every_command_is_documented() -> None:
    files = [path for path in modules() if path.parent.name == "commands" and path.name != "__init__.py"]
    text = "".join((DOCS / name).read_text() for name in ("operations.md",))
    assert {path.stem for path in files} - set(re.findall(r"manage\.py (\w+)", text)) == set()


def test_every_target_of_make_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = "".join(document.read_text() for document in documents())
    assert set(targets) - set(re.findall(r"make ([a-z-]+)", text)) == set()


# Variables


READERS = {"text", "flag", "number", "words"}
SUMS = {ast.Mult: operator.mul, ast.Add: operator.add}


def variables() -> dict[str, str]:
    """Every environment variable that the code reads, with its default as the documents write it."""
    found: dict[str, str] = {}
    for path in modules():
        for node in ast.walk(tree(path)):
            for name, default in _reads(node, path.name == "env.py"):
                if default or name not in found:
                    found[name] = default
    return found


def _reads(node: ast.AST, inside_env: bool) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) in {"os.environ", "environment"}:
        yield from _named(node.slice, "")
    elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
        yield from _named(node.left, "")
    elif isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        name = function.removeprefix("env.")
        if name in READERS and (inside_env or function.startswith("env.")):
            yield from _named(node.args[0], _written(_default(node, name)))
        elif function in {"os.environ.get", "environment.get"}:
            yield from _named(node.args[0], "")


def _default(call: ast.Call, reader: str) -> ast.expr | None:
    given = [*call.args[1:2], *(keyword.value for keyword in call.keywords)]
    return given[0] if given else ast.Constant(False) if reader == "flag" else None


def _named(node: ast.expr, default: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Constant) and re.fullmatch(r"[A-Z][A-Z0-9_]+", str(node.value)):
        yield str(node.value), default


def _written(node: ast.expr | None) -> str:
    if node is None:
        return ""
    if isinstance(node, ast.IfExp):
        return f"`{_value(node.orelse)}`; in production `{_value(node.body)}`"
    value = _value(node)
    return f"`{value}`" if value not in ("", None) else ""


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.BinOp) and type(node.op) in SUMS:
        left, right = _value(node.left), _value(node.right)
        assert isinstance(left, int)
        assert isinstance(right, int)
        return SUMS[type(node.op)](left, right)
    if isinstance(node, ast.Constant):
        return {True: "on", False: "off"}[node.value] if isinstance(node.value, bool) else node.value
    # A path below another variable's: `str(DATA_DIR / "static")`.
    return "/".join(re.findall(r"\w+", ast.unparse(node).removeprefix("str")))


def documented_variables() -> dict[str, str]:
    lines = [line for line in CONFIGURATION.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    names = [name for row in cells for name in code_in(row[0])]
    assert len(names) == len(set(names))
    return {name: row[1] for row in cells for name in code_in(row[0])}


def test_every_variable_has_its_line() -> None:
    assert set(documented_variables()) == set(variables())


def test_every_default_is_the_codes_own() -> None:
    documented = documented_variables()
    wrong = {
        name: f"{documented.get(name)!r}, in the code {default!r}"
        for name, default in variables().items()
        if documented.get(name, "") != default
        # What has none in the code is told in words.
        if default or documented.get(name, "").startswith("`")
    }
    assert wrong == {}


def ours() -> dict[str, str]:
    """The settings that are one variable each and not Django's: setting and variable."""
    found = {}
    for node in tree(SETTINGS).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
            setting, variable = ast.unparse(node.targets[0]), ast.unparse(node.value.args[0]).strip("'")
            if ast.unparse(node.value).startswith("env.") and not hasattr(global_settings, setting):
                found[setting] = variable
    return found


def test_what_nothing_looks_at_is_said_to_be_without_effect() -> None:
    code = "".join(path.read_text() for path in modules() if path != SETTINGS)
    own = SETTINGS.read_text()
    idle = {
        variable
        for setting, variable in ours().items()
        if f"settings.{setting}" not in code and len(re.findall(rf"\b{setting}\b(?!\")", own)) < 2
    }
    fields = [field for field in ("memory_mb", "timeout") if f"pool.{field}" not in code]
    idle |= set(re.findall(rf"(?:{'|'.join(fields)}).*\"(\w+_(?:MEMORY_MB|TIMEOUT))\"", own)) if fields else set()
    text = CONFIGURATION.read_text().partition("## Without effect")[2]
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == idle


@pytest.mark.parametrize("heading", ["Nowhere", "Now here"])
def test_a_table_that_is_missed_is_an_error(heading: str) -> None:
    with pytest.raises(ValueError, match="no table"):
        rows(TURN, heading)
