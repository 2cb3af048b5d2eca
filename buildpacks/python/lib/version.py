"""Prints whether this Python is what the tree asks for: `yes`, `no` or `unclear`, the file, its field, and the text, by tabs;
nothing where nothing asks (pyproject.toml: PEP 621 and Poetry; Pipfile)."""

import platform
import re
import tomllib

try:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
except ImportError:
    from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet


def read(file):
    try:
        with open(file, "rb") as source:
            return tomllib.load(source)
    except (OSError, ValueError):
        return {}  # Whoever needs the file says what is wrong with it.


def at(document, *names):
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def plain(text):
    """Poetry's `^3.10` and `~3.10` in the words of PEP 440."""

    def bounds(found):
        parts = [int(part) for part in found[2].split(".")]
        # The first number that may not change: of a caret the first that is not zero, of a tilde the second.
        last = next((n for n, part in enumerate(parts) if part), 0) if found[1] == "^" else min(1, len(parts) - 1)
        above = [*parts[:last], parts[last] + 1]
        return f">={found[2]},<{'.'.join(map(str, above))}"

    return re.sub(r"([\^~])(?!=)\s*(\d+(?:\.\d+)*)", bounds, text)


def fits(text):
    version = platform.python_version()
    either = [part.strip() for part in text.split("||")]
    either = [f"=={part}.*" if re.fullmatch(r"\d+(\.\d+)?", part) else part for part in either]
    return any(SpecifierSet("" if part == "*" else plain(part)).contains(version, prereleases=True) for part in either)


manifest, pipfile = read("pyproject.toml"), read("Pipfile")
asked = [
    ("pyproject.toml", "project.requires-python", at(manifest, "project", "requires-python")),
    ("pyproject.toml", "tool.poetry.dependencies.python", at(manifest, "tool", "poetry", "dependencies", "python")),
    ("Pipfile", "requires.python_full_version", at(pipfile, "requires", "python_full_version")),
    ("Pipfile", "requires.python_version", at(pipfile, "requires", "python_version")),
]
for file, field, text in asked:
    if text is None:
        continue
    wanted = str(text)
    # A patch level is a wish, not a need.
    if field.endswith("full_version"):
        wanted = ".".join(wanted.split(".")[:2])
    try:
        said = "yes" if fits(wanted) else "no"
    except InvalidSpecifier:
        said = "unclear"
    print(said, file, field, " ".join(str(text).split()), sep="\t")
    break
