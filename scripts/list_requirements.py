"""Prints what pyproject.toml asks for at run time and for its 'demo' extra, one requirement a line."""

import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
for requirement in project["dependencies"] + sum(project.get("optional-dependencies", {}).values(), []):
    print(requirement)
