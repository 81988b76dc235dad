"""The script as it is sent: whole, of this language's own library alone, and fit to be read."""

import ast
import os
import subprocess

from conversation import PYTHON
from script import PARTS, SERVER, SOURCE, arguments


def test_every_part_is_sent_once():
    there = sorted("helper/" + name for name in os.listdir(SERVER / "helper") if name.endswith(".py"))
    assert sorted(PARTS) == there
    assert (PARTS[0], PARTS[-1]) == ("helper/base.py", "helper/main.py")


def test_nothing_but_the_standard_library_is_imported():
    tree = ast.parse(SOURCE)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    # Without `site` no package that was installed can be found.
    script = "import importlib\nfor name in %r: importlib.import_module(name)" % sorted(names)
    subprocess.run([PYTHON, "-I", "-S", "-c", script], check=True)


def test_every_import_is_used():
    tree = ast.parse(SOURCE)
    imported = [
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert sorted(set(imported) - used) == []


def test_every_function_is_defined_once_and_used():
    tree = ast.parse(SOURCE)
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert len(defined) == len(set(defined))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert sorted(set(defined) - used) == []


def test_it_starts_by_its_length_alone():
    """Its first half would be no program, and what follows it is not read as one."""
    options = arguments()
    assert options[0] == "-IS" and str(len(SOURCE)) in options[2]


def test_lines_can_be_read():
    long = [line for line in SOURCE.decode().splitlines() if len(line) > 110]
    assert long == []


def test_no_part_is_too_long_to_be_read_at_one_sitting():
    lengths = {part: len((SERVER / part).read_text().splitlines()) for part in PARTS}
    # Looking at a checkout is one idea with many cases.
    assert {part: length for part, length in lengths.items() if length > 250} == {
        part: length for part, length in lengths.items() if part == "helper/checkout.py"
    }
