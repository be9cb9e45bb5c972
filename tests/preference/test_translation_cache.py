"""The cache of translations: found again by engine, version and languages, whole after any kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from lingraft.errors import OutputError
from lingraft.preference.translation_cache import TranslationCache

ORIGIN = {"engine": "e", "version": "1", "languages": ("en", "es")}


def test_found_again_by_what_made_it(tmp_path):
    file = tmp_path / "deep" / "cache.sqlite"
    texts = {"A dog.": "Un perro.", "größe 日本 \n\"'; drop": "x\ty", "": "nothing"}
    with TranslationCache(file, **ORIGIN) as cache:
        cache.add(texts)
        cache.add({"A dog.": "Un perro."})
    with TranslationCache(file, **ORIGIN) as cache:
        assert cache.find([*texts, "other"]) == texts and cache.size() == 3
    for change in ({"engine": "f"}, {"version": "2"}, {"languages": ("en", "eu")}):
        with TranslationCache(file, **(ORIGIN | change)) as cache:
            assert cache.find(list(texts)) == {}
            cache.add({"A dog.": "Txakur bat."})
    with TranslationCache(file, **ORIGIN) as cache:
        assert cache.find(["A dog."]) == {"A dog.": "Un perro."} and cache.size() == 6


def test_thousands_are_looked_up_at_once():
    with TranslationCache(None, **ORIGIN) as cache:
        texts = {f"text {number}": str(number) for number in range(3000)}
        cache.add(texts)
        assert cache.find(list(texts)) == texts


def test_a_process_killed_while_it_adds_loses_nothing_that_was_added(tmp_path):
    file, log = tmp_path / "cache.sqlite", tmp_path / "added"
    program = f"""
from pathlib import Path
from lingraft.preference.translation_cache import TranslationCache
with TranslationCache(Path({str(file)!r}), **{ORIGIN!r}) as cache, open({str(log)!r}, "a") as log:
    for number in range(10**6):
        cache.add({{f"text {{number}} {{part}}": "x" * 2000 for part in range(50)}})
        log.write(f"{{number}}\\n")
        log.flush()
"""
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or log.read_text().count("\n") < 8):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    added = log.read_text().count("\n")
    assert added >= 8
    with TranslationCache(file, **ORIGIN) as cache:
        found = cache.find([f"text {number} {part}" for number in range(added) for part in range(50)])
        assert len(found) == 50 * added and cache.size() in {50 * added, 50 * (added + 1)}
        cache.add({"after": "the kill"})
        assert cache.find(["after"]) == {"after": "the kill"}


@pytest.mark.parametrize("damage", ["nonsense", "other", "directory"])
def test_files_that_are_no_cache(tmp_path, damage):
    file = tmp_path / "cache.sqlite"
    if damage == "nonsense":
        file.write_text("no database" * 1000)
    elif damage == "other":
        with sqlite3.connect(file) as base:
            base.execute("create table translations (a)")
    else:
        file.mkdir()
    said = r"translation cache .*cache.sqlite cannot be used"
    with pytest.raises(OutputError, match=said) as caught, TranslationCache(file, **ORIGIN) as cache:
        cache.find(["x"])
    assert "\n" not in str(caught.value) and "--cache" in str(caught.value)
