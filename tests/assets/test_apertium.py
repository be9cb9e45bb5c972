"""Apertium's packages become a directory whose scripts run wherever it lies."""

import os
import subprocess

import pytest

from lingraft.assets.apertium import COMMANDS, convert_apertium, translation_script
from lingraft.errors import AssetError
from lingraft.files import replacing_directory

MODE = (
    "lt-proc '/usr/share/apertium/apertium-eng-spa/a.bin' | apertium-tagger -g $2 "
    "'/usr/share/apertium/apertium-eng-spa/eng-spa.prob' | lt-proc $1 '/usr/share/apertium/apertium-eng-spa/g.bin'"
)
# Each program adds its name, what it was given, and what the file that it was given holds.
PROGRAM = b"""#!/bin/sh
read -r line
file=none
for one in "$@"; do if [ -f "$one" ]; then file=$(cat "$one"); fi; done
echo "$line ${0##*/}:$1:$file:${LD_LIBRARY_PATH##*/}" | sed "s#:/.*share/#:share/#"
"""


@pytest.fixture
def debs(make_deb):
    pair = {
        "./usr/share/apertium/modes/eng-spa.mode": MODE.encode(),
        "./usr/share/apertium/modes/spa-eng_US.mode": b"cat",
        "./usr/share/apertium/apertium-eng-spa/a.bin": b"A",
        "./usr/share/apertium/apertium-eng-spa/eng-spa.prob": b"P",
        "./usr/share/apertium/apertium-eng-spa/g.bin": b"G",
        "./usr/share/doc/apertium-eng-spa/copyright": b"GPL-2",
        "./usr/share/man/man1/x.1": b"no",
    }
    programs = {f"./usr/bin/{name}": PROGRAM for name in (*COMMANDS, "apertium", "lt-comp")}
    library = {
        "./usr/lib/x86_64-linux-gnu/libtiny.so.72.1": b"elf",
        "./usr/lib/x86_64-linux-gnu/libtiny.a": b"no",
    }
    return [make_deb(pair, "pair.deb"), make_deb(programs, "programs.deb"), make_deb(library, "library.deb")]


def test_the_scripts_run_wherever_the_directory_is(debs, tmp_path):
    made = tmp_path / "a place" / "v1"
    with replacing_directory(made) as temporary:
        counts = convert_apertium(debs, temporary)
    assert counts == {"directions": 1, "programs": len(COMMANDS), "libraries": 1, "data files": 3}
    files = sorted(str(file.relative_to(made)) for file in made.rglob("*") if file.is_file())
    assert [name for name in files if not name.startswith("libexec/")] == [
        "bin/apertium-eng-spa",
        "lib/libtiny.so.72",
        "licences/apertium-eng-spa.txt",
        "share/apertium-eng-spa/a.bin",
        "share/apertium-eng-spa/eng-spa.prob",
        "share/apertium-eng-spa/g.bin",
    ]
    moved = tmp_path / "it's moved"
    made.rename(moved)
    script = moved / "bin" / "apertium-eng-spa"
    assert os.access(script, os.X_OK) and os.access(moved / "libexec" / "lt-proc", os.X_OK)
    done = subprocess.run([script], input="x\n", capture_output=True, text=True, cwd="/", check=True)
    assert not done.stderr
    assert done.stdout.split()[1:] == [
        "apertium-destxt::none:lib",
        "lt-proc:share/apertium-eng-spa/a.bin:A:lib",
        "apertium-tagger:-g:P:lib",
        "lt-proc:-n:G:lib",
        "apertium-retxt::none:lib",
    ]


def test_no_path_of_the_system_is_left():
    script = translation_script(MODE)
    assert (
        "/usr/" not in script
        and "$1" not in script
        and "$2" not in script
        and script.count("$root/share") == 3
    )


def test_packages_that_lack_something(debs, make_deb, tmp_path):
    with pytest.raises(AssetError, match="0 of 9 programs, 1 modes"):
        convert_apertium(debs[:1], tmp_path)
    with pytest.raises(AssetError, match="9 of 9 programs, 0 modes"):
        convert_apertium([debs[1]], tmp_path)
    outside = make_deb({"../../usr/bin/lt-proc": b"x"}, "outside.deb")
    with pytest.raises(AssetError, match="leads out of the archive"):
        convert_apertium([debs[0], outside], tmp_path)
