"""Prints the dependencies that a file names, one a line, as pip reads them: pyproject.toml (PEP 621), Pipfile.lock."""

import json
import sys
import tomllib


def project(document):
    dependencies = document.get("project", {}).get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(entry, str) for entry in dependencies):
        sys.exit("project.dependencies is not a list of texts")
    return dependencies


def pipfile(document):
    lines = []
    for name, entry in document.get("default", {}).items():
        extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
        marker = f"; {entry['markers']}" if entry.get("markers") else ""
        if "git" in entry:
            lines.append(f"{name}{extras} @ git+{entry['git']}@{entry.get('ref', 'HEAD')}{marker}")
        elif "path" in entry or "file" in entry:
            lines.append(entry.get("path") or entry["file"])
        else:
            hashes = "".join(f" --hash={value}" for value in entry.get("hashes", []))
            lines.append(f"{name}{extras}{entry['version']}{marker}{hashes}")
    # pip wants a hash of all or of none.
    if any(" --hash=" not in line for line in lines):
        lines = [line.split(" --hash=")[0] for line in lines]
    return lines


file = sys.argv[1]
try:
    with open(file, "rb") as source:
        entries = pipfile(json.load(source)) if file == "Pipfile.lock" else project(tomllib.load(source))
except (tomllib.TOMLDecodeError, ValueError, KeyError, AttributeError) as error:
    sys.exit(str(error) or type(error).__name__)
for entry in entries:
    if "\n" in entry or entry.startswith("-"):
        sys.exit(f"{entry!r} is no requirement")
    print(entry)
