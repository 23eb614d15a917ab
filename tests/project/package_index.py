"""A package index in a folder, as pip reads it (PEP 503): wheels without content, in any release."""

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path


class PackageIndex:
    """Publishes empty packages of any name and version under one folder."""

    def __init__(self, folder: Path) -> None:
        """Publish into this folder."""
        self._folder = folder

    def add(
        self, name: str, version: str, *, requires: Sequence[str] = (), extras: Sequence[str] = ()
    ) -> str:
        """Publish a release; return its pin with hash, as a lock file has it."""
        project = self._folder / name
        project.mkdir(parents=True, exist_ok=True)
        wheel = project / f"{name}-{version}-py3-none-any.whl"
        _write_wheel(wheel, name, version, requires, extras)
        links = [f'<a href="{path.name}">{path.name}</a>' for path in sorted(project.glob("*.whl"))]
        (project / "index.html").write_text("\n".join(links))
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"

    def environment(self) -> dict[str, str]:
        """Return the variables that have pip know this index and no other."""
        return {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": self._folder.as_uri()}


def _write_wheel(path: Path, name: str, version: str, requires: Sequence[str], extras: Sequence[str]) -> None:
    """Write a wheel (PEP 427) that holds nothing but its metadata."""
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{file},{_digest(text)},{len(text)}" for file, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def _digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
