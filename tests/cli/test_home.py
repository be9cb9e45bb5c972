from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.cli.home import with_home


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--out=~/runs/größe", "--out=/home/me/runs/größe"),
        ("data.corpus=~/text.txt", "data.corpus=/home/me/text.txt"),
        ("--out=~", "--out=/home/me"),
        ("--text=a~/b", "--text=a~/b"),
        ("--text=~b", "--text=~b"),
        ("~/kept", "~/kept"),
    ],
)
def test_home_behind_an_equals_sign(argument: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert with_home(argument) == expected


def test_what_is_written_there_is_not_beside_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    Path("me").mkdir()
    rows = [("a", f"hd{n}", f"Heading {n}", f"{n}. izenburua") for n in range(3)]
    rows += [
        ("a", f"par{n}", f"Open the file number {n} now.", f"Ireki {n} fitxategia orain.") for n in range(3)
    ]
    lines = ["\t".join(row) for pair in zip(rows[:3], rows[3:], strict=True) for row in pair]
    Path("me/pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--target-language", "eu", "--identifier", "none", "--minimum-characters", "5"]
    status = main(["clo", "pairs", "--aligned=~/pairs.tsv", "--out=~/made", *options])
    assert status == 0, capsys.readouterr().err
    assert Path("me/made/pairs.jsonl").exists() and not Path("~").exists()
