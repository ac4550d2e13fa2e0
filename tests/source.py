"""The project's own files, as the tests of its house rules and documents read them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
APPS = ("chinese_worker", "conversations", "models_registry", "maintenance")


def modules(*folders: str) -> list[Path]:
    """Every Python file of these folders; what Django generates, migrations, is left out."""
    return sorted(
        path for folder in folders or APPS for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts
    )


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    """`conversations/runs.py`"""
    return path.relative_to(ROOT).as_posix()


def tracked() -> list[Path]:
    """What is in the repository; every file of a copy that is none, less what make and the tests put there."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
        return [path for path in paths if path.is_file()]
    return list(_files_of_a_copy())


def _files_of_a_copy() -> Iterator[Path]:
    made = {".git", ".venv", "var", "__pycache__", "test-output"}
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not made.intersection(parts) and not any(part.endswith("_cache") for part in parts):
            yield path


def rows(document: Path, heading: str) -> list[list[str]]:
    """The body of the first table below this heading, cell by cell. Raises ValueError where there is none."""
    lines = iter(document.read_text().splitlines())
    for line in lines:
        if line.startswith("#") and line.lstrip("# ") == heading:
            break
    found: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.replace("\\|", "&#124;").strip("|").split("|")])
        elif found or line.startswith("#"):
            break
    if len(found) < 3:
        raise ValueError(f"{document.name} has no table below {heading!r}")
    return found[2:]
