"""Fetching one exact Debian package through apt-get, without root and without touching the system's lists."""

import os
import shutil
import subprocess
from pathlib import Path

from lingraft.assets.cache import locked
from lingraft.assets.pins import Choice
from lingraft.errors import AssetError


def download_deb(root: Path, choice: Choice, folder: Path, alternative: str) -> Path:
    """Download one of the accepted versions of a package into `folder`; its content is not checked here.

    The system's package lists are tried first. Where they are absent or out of date, lists of the system's
    own sources are fetched into the cache, which needs no rights.

    Args:
        root: The asset cache, for the private package lists.
        choice: The accepted versions, the preferred one first.
        folder: An empty directory.
        alternative: What the user can do instead, for the error.

    Returns:
        The path of the .deb file.

    Raises:
        AssetError: There is no apt-get, no network, or none of the versions is to be had.
    """
    if shutil.which("apt-get") is None:
        raise AssetError(
            f"no apt-get to fetch {choice[0].name} with",
            "a Debian system, or one with apt",
            f"instead, {alternative}",
        )
    offered, said = [], ""
    for private in (False, True):
        options = _private_lists(root) if private else []
        offered = _offered_versions(options, choice[0].name)
        for package in choice:
            if package.version in offered:
                file, said = _download(options, f"{package.name}={package.version}", folder)
                if file is not None:
                    return file
    raise _apt_error(choice, offered, said, alternative)


def _run(arguments: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, done.stderr + done.stdout


def _offered_versions(options: list[str], name: str) -> list[str]:
    """Return the versions of a package that apt's lists hold, as `apt-cache madison` shows them."""
    _, table = _run(["apt-cache", *options, "madison", name], Path("/"))
    rows = [[field.strip() for field in line.split("|")] for line in table.splitlines()]
    return list(dict.fromkeys(row[1] for row in rows if len(row) == 3 and row[0] == name))


def _download(options: list[str], wanted: str, folder: Path) -> tuple[Path | None, str]:
    """Return the file that apt delivers for `name=version`, or None and what apt said."""
    # apt would hand its download to a user of its own, who cannot write to our folder.
    sandbox = ["-o", "APT::Sandbox::User=root"]
    code, output = _run(["apt-get", "-q", *options, *sandbox, "download", wanted], folder)
    files = list(folder.glob("*.deb"))
    if code == 0 and len(files) == 1:
        return files[0], output
    for file in files:
        file.unlink()
    return None, output


def _private_lists(root: Path) -> list[str]:
    """Fetch the package lists of the system's sources into the cache; return apt's options to use them."""
    apt = root / "apt"
    options = []
    for key, folder in (("State::Lists", apt / "lists"), ("Cache", apt / "cache")):
        (folder / "partial").mkdir(parents=True, exist_ok=True)
        options += ["-o", f"Dir::{key}={folder}"]
    (apt / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    update = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=1"]
    with locked(root, "apt-lists"):
        # The exit status says nothing: one unreachable third-party source makes it fail.
        _run(["apt-get", "-q", *options, *update, "update"], apt)
    return options


def _apt_error(choice: Choice, offered: list[str], said: str, alternative: str) -> AssetError:
    name = choice[0].name
    known = [package.version for package in choice]
    if "No space left" in said or "enough free space" in said:
        return AssetError(
            f"no space left while apt-get fetched {name}",
            f"{2 * choice[0].size / 2**20:.0f} MiB in the cache",
            f"free some space, set LINGRAFT_CACHE to another disk, or {alternative}",
        )
    if not offered:
        why = f"apt finds no package {name} (no network, or not among this system's sources)"
    elif set(offered) & set(known):
        lines = [line for line in said.splitlines() if line.startswith(("E:", "Err"))]
        why = f"apt-get could not fetch {name} ({(lines or ['no reason given'])[-1][:200]})"
    else:
        why = f"apt offers {name} {', '.join(offered)}"
    return AssetError(why, f"version {' or '.join(known)}", f"try again with a network, or {alternative}")
