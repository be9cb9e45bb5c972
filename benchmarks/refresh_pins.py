"""Write the pins of the Debian packages that assets come from, as this machine's apt describes them.

Known versions stay in the file, newest first, since a mirror may still carry an older one:

    apt-get update && python benchmarks/refresh_pins.py
    python benchmarks/refresh_pins.py --lists DIR    # an apt lists directory of another release
"""

import argparse
import functools
import json
import re
import subprocess
from pathlib import Path

PINS = Path(__file__).parents[1] / "src" / "lingraft" / "assets" / "pins.json"
WANTED = re.compile(
    r"^(libreoffice-help-(?!common|en-gb)[a-z-]+|dict-freedict-[a-z]{3}-[a-z]{3}|apertium(-eng-spa|-lex-tools)?|lttoolbox"
    r"|libapertium(3|-lex-tools1)|liblttoolbox3|libicu72|libxml2)$"
)


def apt_cache(lists: str | None, *arguments: str) -> str:
    """Return what `apt-cache` prints."""
    options = ["-o", f"Dir::State::Lists={lists}"] if lists else []
    done = subprocess.run(["apt-cache", *options, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def newest_first(one: list[object], other: list[object]) -> int:
    """Order two pins by Debian's rules for versions."""
    if one[0] == other[0]:
        return 0
    newer = subprocess.run(["dpkg", "--compare-versions", str(one[0]), "gt", str(other[0])], check=False)
    return -1 if newer.returncode == 0 else 1


def main() -> None:
    """Merge what apt knows into the pins file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", help="an apt lists directory, other than the machine's own")
    lists = parser.parse_args().lists
    names = [name for name in apt_cache(lists, "pkgnames").split() if WANTED.match(name)]
    pins = json.loads(PINS.read_text(encoding="utf-8")) if PINS.exists() else {}
    for record in apt_cache(lists, "show", *sorted(names)).split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|SHA256|Size): (.+)$", record, re.MULTILINE))
        if len(fields) < 4:
            continue
        known = pins.setdefault(fields["Package"], [])
        pin = [fields["Version"], fields["SHA256"], int(fields["Size"])]
        if pin not in known:
            known.append(pin)
            known.sort(key=functools.cmp_to_key(newest_first))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(pins[name])}" for name in sorted(pins))
    PINS.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print(f"{len(pins)} packages, {sum(map(len, pins.values()))} pins in {PINS.name}")


if __name__ == "__main__":
    main()
