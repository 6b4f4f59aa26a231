"""Writes constraints.txt: the versions, in the environment that this runs in, of what the project depends on and of what that depends on.

    .venv/bin/python scripts/freeze.py

Run it after an update that the tests agree with, in an environment with audiocraft (scripts/setup --audiocraft). CUDA's own packages are
left out: PyTorch names the ones that it wants, by platform.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BY_PLATFORM = re.compile(r"nvidia-.*|cuda-.*|triton")
HEADER = "# Made by scripts/freeze.py: the versions that the tests have run with. Used as: pip install -c constraints.txt …\n"


def main() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, "") for requirement in (*ours(project), *beside_audiocraft())]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if (requirement.marker and not requirement.marker.evaluate({"extra": extra})) or BY_PLATFORM.fullmatch(name):
            continue
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here: run scripts/setup --audiocraft first") from None
        pins[name] = found.version.split("+")[0]  # 2.9.0+cpu is 2.9.0 elsewhere
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(text), wanted) for text in found.requires or ()]
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines), encoding="utf-8")


def ours(project: dict[str, Any]) -> Iterator[Requirement]:
    """What pyproject.toml names, in every extra and every group."""
    groups = project["dependency-groups"].values()
    for texts in (project["project"]["dependencies"], *project["project"]["optional-dependencies"].values(), *groups):
        yield from (Requirement(text) for text in texts if isinstance(text, str))  # the rest are {include-group = …}


def beside_audiocraft() -> Iterator[Requirement]:
    """What scripts/install-audiocraft installs with its dependencies: a quoted requirement on a line of its own."""
    for text in re.findall(r'^ +"([^"]+)"', (ROOT / "scripts" / "install-audiocraft").read_text(encoding="utf-8"), re.MULTILINE):
        yield Requirement(text)


if __name__ == "__main__":
    main()
