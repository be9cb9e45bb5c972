"""Archives are read without being unpacked; damaged and malicious ones are refused."""

import io
import tarfile
from pathlib import Path

import pytest

from lingraft.assets.archives import copy_wheel_members, read_deb
from lingraft.errors import AssetError


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_deb_files_are_read_whatever_the_compression(make_deb, compression):
    deb = make_deb({"./usr/share/a.txt": "żółć".encode(), "./usr/b": b"no"}, compression=compression)
    assert list(read_deb(deb, lambda name: name.endswith(".txt"))) == [("usr/share/a.txt", "żółć".encode())]


def test_deb_with_unknown_compression_is_refused(make_deb):
    deb = make_deb({"a": b"1"})
    deb.write_bytes(deb.read_bytes().replace(b"data.tar.xz ", b"data.tar.zst"))
    with pytest.raises(AssetError, match=r"data\.tar\.zst"):
        list(read_deb(deb, lambda name: True))


@pytest.mark.parametrize("name", ["../../evil.txt", "/etc/evil", "ok/../../evil", "..\\evil"])
def test_tar_members_that_lead_out_are_refused(make_deb, tmp_path, name):
    deb = make_deb({"fine.txt": b"1", name: b"boom"}, name="sub/evil_1_all.deb")
    with pytest.raises(AssetError, match="leads out"):
        list(read_deb(deb, lambda member: True))
    assert not [path for path in tmp_path.rglob("evil*") if path.suffix != ".deb"]


def test_links_in_a_deb_are_passed_over(tmp_path, make_deb):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    plain = make_deb({}, compression="").read_bytes()
    start = plain.index(b"data.tar")
    size = f"{len(buffer.getvalue()):<10}".encode()
    deb = tmp_path / "link.deb"
    deb.write_bytes(plain[: start + 48] + size + plain[start + 58 : start + 60] + buffer.getvalue())
    assert list(read_deb(deb, lambda name: True)) == []


@pytest.mark.parametrize("keep", [4, 40, 100, 0.5, 0.9])
def test_cut_off_debs_are_refused(make_deb, keep):
    deb = make_deb({"a.txt": bytes(range(256)) * 40})
    whole = deb.read_bytes()
    deb.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(AssetError) as caught:
        list(read_deb(deb, lambda name: True))
    assert "\n" not in str(caught.value)
    assert deb.name in str(caught.value)


def test_a_flipped_bit_in_a_deb_is_found(make_deb):
    deb = make_deb({"a.txt": bytes(range(256)) * 40})
    damaged = bytearray(deb.read_bytes())
    damaged[-60] ^= 255
    deb.write_bytes(damaged)
    with pytest.raises(AssetError):
        list(read_deb(deb, lambda name: True))


def test_wheel_members_are_joined_in_the_order_given(make_wheel, tmp_path):
    wheel = make_wheel({"p/one": b"1" * 3, "p/two": b"2" * 2})
    out = tmp_path / "joined"
    copy_wheel_members(wheel, ["p/two", "p/one"], out)
    assert out.read_bytes() == b"22111"


@pytest.mark.parametrize("name", ["../evil.py", "/abs/evil.py", "a/../../evil.py"])
def test_wheels_with_members_that_lead_out_are_refused(make_wheel, tmp_path, name):
    wheel = make_wheel({"p/one": b"1", name: b"boom"})
    with pytest.raises(AssetError, match="leads out"):
        copy_wheel_members(wheel, ["p/one"], tmp_path / "out")
    assert not list(tmp_path.rglob("evil.py"))


def test_cut_off_and_incomplete_wheels_are_refused(make_wheel, tmp_path: Path):
    wheel = make_wheel({"p/one": b"1" * 1000})
    with pytest.raises(AssetError, match="p/two"):
        copy_wheel_members(wheel, ["p/two"], tmp_path / "out")
    wheel.write_bytes(wheel.read_bytes()[:500])
    with pytest.raises(AssetError, match="not readable"):
        copy_wheel_members(wheel, ["p/one"], tmp_path / "out")
