"""docs/architecture.md agrees with the code: packages, imports, tables, states, places of SQL."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import db
from storage.job_state import JobState

ROOT = Path(db.__file__).resolve().parent
DOCUMENT = (ROOT / "docs/architecture.md").read_text()

SQL_ALLOWED = ("db", "storage", "legacy_import", "migrations", "benchmarks")
# Creates databases in the embedded PostgreSQL.
SQL_ALLOWED_MODULES = {"tools.demo.postgres"}
SQL_CONSTRUCTORS = {"select", "insert", "update", "delete", "text", "table", "func", "exists", "union_all"}
SQL_METHODS = {"exec_driver_sql", "executemany", "scalar", "scalars", "cursor"}
# Tools run outside the mirror's processes, with settings of their own.
ENVIRONMENT_ALLOWED = ("dqmsquare_cfg", "tools", "benchmarks")
# Packages with fewer modules need no overview, and those on top are found by their names.
MIN_OVERVIEW_MODULES = 8
NO_OVERVIEW = ("benchmarks", "dqm2.redaction", "migrations", "tools")
LATE_IMPORTS_ALLOWED = {"db", "dqmsquare_mirror"}


def table_after(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the document, without its head."""
    _, _, section = DOCUMENT.partition(f"## {heading}\n")
    rows = re.search(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    assert rows, f"no table below {heading!r}"
    return [[cell.strip() for cell in row.strip("|\n").split("|")] for row in rows[0].splitlines()[2:]]


def names_in(cell: str) -> list[str]:
    """The names in backticks, packages and modules without `/` and `.py`."""
    return [name.rstrip("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", cell)]


@cache
def files() -> Mapping[str, Path]:
    """The files of the repository's modules by name; a package is named like its `__init__`."""
    packages = {path.parent for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    paths = [*ROOT.glob("*.py"), *(path for package in packages for path in package.rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


@cache
def modules() -> Mapping[str, ast.Module]:
    """The parsed modules by name, except tests: they may import and do everything."""
    return {name: ast.parse(file.read_text()) for name, file in files().items() if top_of(name) != "tests"}


@cache
def nodes() -> Mapping[str, list[ast.AST]]:
    """All nodes of each module: a walk takes longer than most tests of them."""
    return {module: list(ast.walk(tree)) for module, tree in modules().items()}


def submodules() -> Mapping[str, set[str]]:
    """The names of the modules in each package."""
    found: dict[str, set[str]] = {}
    for module in modules():
        package, _, name = module.rpartition(".")
        if package and not name.startswith("__"):
            found.setdefault(package, set()).add(name)
    return found


def top_of(module: str) -> str:
    """The top-level package or module that a module is part of."""
    return module.partition(".")[0]


def imported(statements: Iterable[ast.AST]) -> Iterator[str]:
    """The modules of the repository that statements import."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if alias.name in files())
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                name = f"{statement.module}.{alias.name}"
                if name in files():
                    yield name
                elif statement.module in files():
                    yield statement.module


def reached_from(module: str) -> set[str]:
    """A module, and all modules of the repository that it imports, directly or not."""
    found: set[str] = set()
    remaining = {module}
    while remaining:
        found |= remaining
        remaining = {name for one in remaining for name in imported(modules()[one].body)} - found
    return found


def third_party(module: str) -> set[str]:
    """The top-level packages of the modules that a module imports."""
    body = modules()[module].body
    plain = {top_of(alias.name) for node in body if isinstance(node, ast.Import) for alias in node.names}
    return plain | {top_of(node.module) for node in body if isinstance(node, ast.ImportFrom) and node.module}


def test_it_names_every_program_and_package() -> None:
    programs = {name for file, _ in table_after("Programs") for name in names_in(file)}
    packages = {name for package, *_ in table_after("Packages") for name in names_in(package)}
    assert programs == {path.stem for path in ROOT.glob("*.py")}
    assert packages == {top_of(module) for module in files()}


def test_it_names_files_that_exist() -> None:
    paths = set(re.findall(r"`(\w[\w./]*(?:/|\.py|\.md))`", DOCUMENT))
    # Installed from the npm registry, and not in the repository.
    assert {path for path in paths - {"static/vendor/"} if not (ROOT / path).exists()} == set()


def test_it_finds_every_module_that_comments_cite() -> None:
    tops = "|".join({top_of(module) for module in files() if not (ROOT / f"{module}.py").exists()})
    cited = {
        path
        for source in files().values()
        for path in re.findall(rf"`((?:{tops})/[\w/]+\.py)`", source.read_text())
    }
    assert {path for path in cited if not (ROOT / path).exists()} == set()


def test_it_names_every_module_in_the_overview_of_a_package() -> None:
    unnamed = {
        f"{package}: {name}"
        for package, names in submodules().items()
        if len(names) >= MIN_OVERVIEW_MODULES and not package.startswith(NO_OVERVIEW)
        for name in names
        if not re.search(rf"\b{name}\b", ast.get_docstring(modules()[package]) or "")
    }
    assert unnamed == set()


def test_it_names_every_import_between_packages() -> None:
    allowed = {
        name: set(names_in(imports))
        for package, _, imports in table_after("Packages")
        for name in names_in(package)
        if imports != "any"
    }
    unnamed = {
        f"{module} imports {name}"
        for module, statements in nodes().items()
        for name in imported(statements)
        if top_of(module) in allowed
        and top_of(name) not in {top_of(module), *allowed[top_of(module)]}
        and (module, name) != ("db", "db_commands")
    }
    assert unnamed == set()


def test_it_has_no_import_cycle() -> None:
    graph = {module: set(imported(tree.body)) - {module} for module, tree in modules().items()}
    assert list(TopologicalSorter(graph).static_order())


def web_imports() -> Mapping[str, set[str]]:
    """The packages and single modules of `web/` by name, each with the others that it imports."""
    found: dict[str, set[str]] = {}
    for module, statements in nodes().items():
        if top_of(module) == "web":
            own = part_of_web(module)
            names = {part_of_web(name) for name in imported(statements) if top_of(name) == "web"}
            found.setdefault(own, set()).update(names - {own})
    return found


def part_of_web(module: str) -> str:
    """The package or single module directly in `web/` that a module is part of."""
    return ".".join(module.split(".")[:2])


def test_packages_of_the_server_have_no_import_cycle() -> None:
    assert list(TopologicalSorter(web_imports()).static_order())


def test_only_the_control_room_imports_pages() -> None:
    imports = {(own, name) for own, names in web_imports().items() for name in names}
    above = {(own, name) for own, name in imports if name in ("web.pages", "web.control_room")}
    assert above == {("web.control_room", "web.pages")}


def test_parser_processes_import_neither_the_database_nor_the_network() -> None:
    found = reached_from("grabbing.parser_process")
    assert "dqm2.document_parser" in found
    assert {module for module in found if third_party(module) & {"sqlalchemy", "requests"}} == set()


def test_it_imports_late_in_main_modules_only() -> None:
    late = {
        module
        for module, statements in nodes().items()
        if any(map(_is_indented_import, statements))
        for function in statements
        if isinstance(function, ast.FunctionDef)
        for _ in imported(ast.walk(function))
    }
    assert late <= LATE_IMPORTS_ALLOWED


def _is_indented_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset > 0


def test_it_has_at_most_six_modules_at_the_top_level() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 6


def test_it_writes_sql_where_that_is_allowed_only() -> None:
    found = {
        f"{module}:{node.lineno}"
        for module, statements in nodes().items()
        if top_of(module) not in SQL_ALLOWED and module not in SQL_ALLOWED_MODULES
        for node in statements
        if isinstance(node, ast.Attribute) and _is_sql(node)
    }
    assert found == set()


def _is_sql(node: ast.Attribute) -> bool:
    is_constructor = isinstance(node.value, ast.Name) and node.value.id in ("sa", "sqlalchemy")
    return node.attr in SQL_METHODS or (is_constructor and node.attr in SQL_CONSTRUCTORS)


def test_it_reads_environment_variables_in_the_settings_only() -> None:
    found = {
        module
        for module, statements in nodes().items()
        if top_of(module) not in ENVIRONMENT_ALLOWED
        for node in statements
        if _reads_variable(node)
    }
    assert found == set()


def _reads_variable(node: ast.AST) -> bool:
    """Whether it is `os.getenv`, `os.environ[…]` read, or a method of `os.environ`."""
    match node:
        case (
            ast.Attribute(value=ast.Name(id="os"), attr="getenv")
            | ast.Subscript(value=ast.Attribute(value=ast.Name(id="os"), attr="environ"), ctx=ast.Load())
            | ast.Attribute(value=ast.Attribute(value=ast.Name(id="os"), attr="environ"))
        ):
            return True
    return False


def test_it_names_every_table_of_the_database() -> None:
    tables = [name for table, _ in table_after("Database") for name in names_in(table)]
    assert sorted(tables) == sorted(db.metadata.tables)


def test_it_names_every_state_of_a_job() -> None:
    states = [name for state, _ in table_after("States of a job") for name in names_in(state)]
    assert set(states) == set(JobState)
