"""Apertium, a rule-based translator, made from Debian packages into a directory that works wherever it lies."""

import re
from collections.abc import Sequence
from pathlib import Path

from lingraft.assets.archives import broken_archive, read_deb

COMMANDS = (
    "apertium-destxt",
    "apertium-interchunk",
    "apertium-postchunk",
    "apertium-pretransfer",
    "apertium-retxt",
    "apertium-tagger",
    "apertium-transfer",
    "lrx-proc",
    "lt-proc",
)
"""What the catalogued language pair's translation is a pipe of."""

_LIBRARY = re.compile(r"^usr/lib/[^/]+/(lib[^/]+\.so\.\d+)(?:\.\d+)*$")
_MODE = re.compile(r"^usr/share/apertium/modes/([a-z]{3}-[a-z]{3})\.mode$")
_DATA = "usr/share/apertium/"
_MODES = f"{_DATA}modes/"
_PATH = re.compile(rf"'/{_DATA}([^'$`\"\\]+)'")

_SCRIPT = """\
#!/bin/sh
# Translates its input, plain text in UTF-8. Made by lingraft from Debian's files of Apertium.
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
LD_LIBRARY_PATH="$root/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
PATH="$root/libexec:$PATH"
LC_ALL=C.UTF-8
export LD_LIBRARY_PATH PATH LC_ALL
apertium-destxt | {pipe} | apertium-retxt
"""


def convert_apertium(debs: Sequence[Path], directory: Path) -> dict[str, int]:
    """Write `bin/apertium-PAIR` for each translation direction, and the programs and data that it runs.

    The scripts find everything from where they lie themselves, so the directory can be moved, and no root is needed.

    Args:
        debs: The packages: the language pair's first, then Apertium's programs and the libraries they load.
        directory: An existing directory to write into.

    Returns:
        Counts.

    Raises:
        AssetError: A package is damaged, or a program or a mode is missing.
    """
    modes: dict[str, str] = {}
    programs, libraries, data = 0, 0, 0
    for deb in debs:
        for name, content in read_deb(deb, _wanted):
            mode, library = _MODE.match(name), _LIBRARY.match(name)
            if mode is not None:
                modes[mode[1]] = content.decode("utf-8")
            elif library is not None:
                # A library's file is named by its full version, and looked for by the first number of it.
                _write(directory / "lib" / library[1], content)
                libraries += 1
            elif name.startswith("usr/bin/"):
                _write(directory / "libexec" / Path(name).name, content, executable=True)
                programs += 1
            elif name.endswith("/copyright"):
                _write(directory / "licences" / f"{Path(name).parent.name}.txt", content)
            else:
                _write(directory / "share" / name.removeprefix(_DATA), content)
                data += 1
    if programs < len(COMMANDS) or not modes:
        raise broken_archive(debs[0], f"{programs} of {len(COMMANDS)} programs, {len(modes)} modes")
    for pair, mode_text in modes.items():
        _write(
            directory / "bin" / f"apertium-{pair}", translation_script(mode_text).encode(), executable=True
        )
    return {"directions": len(modes), "programs": programs, "libraries": libraries, "data files": data}


def translation_script(mode: str) -> str:
    """Return a shell script that runs an Apertium mode with data that lies beside the script's own directory.

    Args:
        mode: The mode file: a pipe of commands with absolute paths of their data; `$1` stands for how unknown words
            are shown, `$2` for the tagger's options.

    Returns:
        The script; unknown words are let through without a mark.
    """
    pipe = _PATH.sub(lambda path: f'"$root/share/{path[1]}"', mode.strip())
    return _SCRIPT.format(pipe=pipe.replace(" $1", " -n").replace(" $2", ""))


def _wanted(name: str) -> bool:
    if name.startswith("usr/bin/"):
        return Path(name).name in COMMANDS
    if name.startswith("usr/share/doc/"):
        return name.endswith("/copyright")
    if name.startswith(_MODES):
        return _MODE.match(name) is not None
    return _LIBRARY.match(name) is not None or name.startswith(_DATA)


def _write(path: Path, content: bytes, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if executable:
        path.chmod(0o755)
