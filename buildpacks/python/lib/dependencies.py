"""Prints the dependencies that a pyproject.toml names (PEP 621), one a line, as pip reads them."""

import sys
import tomllib

try:
    with open(sys.argv[1], "rb") as file:
        project = tomllib.load(file).get("project", {})
except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
    sys.exit(str(error))
dependencies = project.get("dependencies", [])
if not isinstance(dependencies, list) or not all(isinstance(entry, str) for entry in dependencies):
    sys.exit("project.dependencies is not a list of texts")
for entry in dependencies:
    if "\n" in entry or entry.startswith("-"):
        sys.exit(f"{entry!r} is no requirement")
    print(entry)
