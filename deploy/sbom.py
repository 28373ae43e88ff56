"""Write `deploy/sbom.cdx.json`: what the locks hold, with licences, as CycloneDX; `--check` only compares."""

import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SBOM = ROOT / "deploy" / "sbom.cdx.json"

# From the smallest lock to the largest: what is in the image, in the embedded run, in development only.
SCOPES = {"requirements.lock": "required", "requirements-local.lock": "optional", "requirements-dev.lock": "excluded"}

# Packages that say it in words only, by those words; and those of other systems than the one this runs on.
SPDX = {
    "Apache Software License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "PSFL": "PSF-2.0",
    "Repoze Public License": "LicenseRef-Repoze",
}
ELSEWHERE = {"colorama": "BSD-3-Clause"}
CHOICE = {"python-dateutil": "Apache-2.0 OR BSD-3-Clause"}
_EXPRESSION = re.compile(r"[A-Za-z0-9.-]+( (AND|OR) [A-Za-z0-9.-]+)*")


def licence_of(name: str) -> str:
    """
    Return the licence of a locked package as an SPDX expression.

    Raises:
        ValueError: it says none that is known here.
    """
    if name in ELSEWHERE or name in CHOICE:
        return (ELSEWHERE | CHOICE)[name]
    told = metadata.metadata(name)
    said = told.get("License-Expression") or told.get("License") or ""
    if said in SPDX:
        return SPDX[said]
    if _EXPRESSION.fullmatch(said) and said != "UNKNOWN":
        return said
    classified = [
        line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License ::")
    ]
    found = [SPDX[words] for words in classified if words in SPDX]
    if not found:
        raise ValueError(
            f"{name}: no licence that is known in {told.get('License')!r}, {classified}: look, and name it here"
        )
    return " AND ".join(dict.fromkeys(found))


def packages() -> list[dict[str, Any]]:
    """Return a component per locked package, in the order of the largest lock."""
    scope: dict[str, str] = {}
    versions: dict[str, str] = {}
    for lock, part in SCOPES.items():
        for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
            if line[:1].isalnum():
                requirement = Requirement(line.removesuffix("\\").strip())
                (pin,) = requirement.specifier
                name = canonicalize_name(requirement.name)
                versions[f"{name}@{pin.version}"] = name
                scope.setdefault(f"{name}@{pin.version}", part)
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{ref}",
            "name": name,
            "version": ref.partition("@")[2],
            "scope": scope[ref],
            "licenses": [{"expression": licence_of(name)}],
            "purl": f"pkg:pypi/{ref}",
        }
        for ref, name in sorted(versions.items())
    ]


def images() -> list[dict[str, Any]]:
    """Return a component per image of others that the Compose file starts."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"].values()
    named = sorted(
        {service["image"] for service in services if "build" not in service and "pull_policy" not in service}
    )
    return [
        {
            "type": "container",
            "bom-ref": f"pkg:docker/{image.replace(':', '@')}",
            "name": image.partition(":")[0],
            "version": image.partition(":")[2],
            "scope": "optional",
            "purl": f"pkg:docker/{image.replace(':', '@')}",
        }
        for image in named
    ]


def bom() -> str:
    """Return the document; the same locks give the same text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ref = f"pkg:pypi/{project['name']}@{project['version']}"
    product = {
        "type": "application",
        "bom-ref": ref,
        "name": project["name"],
        "version": project["version"],
        "purl": ref,
    }
    components = packages() + images()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["worker"]]
    direct = {canonicalize_name(Requirement(text).name) for text in wanted}
    depends = [part["bom-ref"] for part in components if part["type"] == "library" and part["name"] in direct]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": product},
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": depends}],
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> int:
    """Write, or compare; 1 if the file is stale."""
    made = bom()
    if "--check" in sys.argv:
        if SBOM.read_text(encoding="utf-8") != made:
            sys.stderr.write(f"{SBOM.relative_to(ROOT)} is stale: run `make generate`\n")
            return 1
        return 0
    SBOM.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
