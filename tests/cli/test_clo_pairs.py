"""`lingraft clo pairs` as it is typed: items, what was left out and why, and one line for whatever goes wrong."""

import json
import random
import shutil
from pathlib import Path

import pytest

from lingraft.assets.splitting import held_out, remove_near_duplicates
from lingraft.cli.app import main
from lingraft.preference.items import read_items

SYLLABLES = ["ba", "ku", "mi", "no", "ré", "so", "ta", "wü", "ye", "zo"]


def words(chance, number):
    return " ".join("".join(chance.choices(SYLLABLES, k=4)) for _ in range(number))


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(0)
    english = [f"en {words(chance, 8)}" for _ in range(400)]
    target = [f"xx {words(chance, 8)}" for _ in range(400)]
    lines("a.en", english)
    lines("a.xx", target)
    rows = [{"id": f"i{n}", "prompt": english[n], "response": english[n + 100]} for n in range(100)]
    write_rows("en.jsonl", rows)
    rows = [{"id": f"i{n}", "prompt": target[n], "response": target[n + 100]} for n in range(100)]
    write_rows("xx.jsonl", rows)
    return tmp_path


def lines(name, texts):
    Path(name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def write_rows(name, rows):
    lines(name, [json.dumps(row, ensure_ascii=False) for row in rows])


def rows_of(name):
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def clo_pairs(*more, out="out", language="xx"):
    named = ["--target-language", language] if language else []
    return ["clo", "pairs", *named, "--identifier", "none", "--out", out, *more]


PARALLEL = ("--parallel", "a.en", "a.xx")
TRANSLATED = ("--instructions", "en.jsonl", "--translations", "xx.jsonl")


def error_of(capsys):
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: ") and said.err.count("\n") == 1, said
    return said.err


def test_parallel_lines(world, capsys):
    assert main([*clo_pairs(*PARALLEL, "--held-out", "30", "--limit", "100"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    training, refused = read_items(Path("out/pairs.jsonl"))
    apart, _ = read_items(Path("out/heldout.jsonl"))
    assert (len(training), len(apart)) == (100, 30) and not refused
    assert result["metrics"]["items"] == 100 and result["metrics"]["held_out"] == 30
    english, target = (Path(name).read_text(encoding="utf-8").splitlines() for name in ("a.en", "a.xx"))
    for item in [*training, *apart]:
        place = int(item.id.split(":")[1]) - 1
        assert [item.english_prompt, item.english_response] == english[place : place + 2]
        assert [item.target_prompt, item.target_response] == target[place : place + 2]
    stretches = [{int(item.id.split(":")[1]) // 40 for item in items} for items in (training, apart)]
    assert not stretches[0] & stretches[1]
    counts = result["counts"]["items"]
    assert (
        counts["kept: training"] == 100
        and sum(n for name, n in counts.items() if name != "items checked") == 200
    )
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Continuations of parallel text" in page and training[0].english_prompt in page
    assert result["inputs"][0]["role"] == "parallel, English" and len(result["inputs"][0]["revision"]) == 64


def test_the_same_command_finds_its_result_and_another_is_refused(world, capsys):
    command = clo_pairs(*PARALLEL, "--held-out", "10")
    assert main(command) == 0
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    assert main(command) == 0
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before
    # A run that was killed before its end is made again.
    Path("out/result.json").unlink()
    Path("out/pairs.jsonl").write_text("half")
    assert main(command) == 0
    assert Path("out/pairs.jsonl").read_bytes() == before["pairs.jsonl"]
    shutil.rmtree("out")
    assert main(command) == 0
    assert Path("out/pairs.jsonl").read_bytes() == before["pairs.jsonl"]
    capsys.readouterr()
    assert main([*command, "--seed", "5"]) == 2
    assert "differs in: seed" in error_of(capsys)
    with Path("a.xx").open("a", encoding="utf-8") as file:
        file.write("xx another line\n")
    with Path("a.en").open("a", encoding="utf-8") as file:
        file.write("en another line\n")
    assert main(command) == 2
    assert "holds a run of another command" in error_of(capsys)


def test_translated_instructions_and_what_is_wrong_with_them(world, capsys):
    rows = rows_of("xx.jsonl")
    english = rows_of("en.jsonl")
    rows[3]["response"] = ""
    rows[4]["response"] = english[4]["response"]
    rows[5]["prompt"] = english[5]["prompt"] + " "
    english[6]["prompt"] = "Translate the following sentence to French: it rains a lot in the mountains here"
    rows[7]["response"] = "xx"
    write_rows("xx.jsonl", rows[:-1])
    write_rows("en.jsonl", english)
    with Path("xx.jsonl").open("a") as file:
        file.write('{"id": "cut\n')
    assert main(clo_pairs(*TRANSLATED)) == 0
    said = capsys.readouterr().out
    for reason in (
        "1  identical answers",
        "1  identical prompts",
        "1  asks for a translation",
        "1  target_response too short",
        "2  no item: missing translation",
        "1  translation: empty response",
        "1  translation: invalid JSON",
    ):
        assert reason.partition("  ")[2] in said, reason
    assert {item.id for item in read_items(Path("out/pairs.jsonl"))[0]} == {
        f"i{n}" for n in range(100) if n not in {3, 4, 5, 6, 7, 99}
    }
    rejects = {row["id"]: row["reason"] for row in rows_of("out/rejects.jsonl")}
    assert rejects == {
        "i3": "no target_response",
        "i99": "no target_response",
        "i4": "identical answers",
        "i5": "identical prompts",
        "i6": "asks for a translation",
        "i7": "target_response too short for its English",
    }
    bad = {row["line"]: row["reason"] for row in rows_of("out/bad_lines.target.jsonl")}
    assert bad == {4: "empty response", 100: "invalid JSON"}
    assert not Path("out/bad_lines.english.jsonl").exists() and not Path("out/heldout.jsonl").exists()


def test_two_formats_in_the_same_order(world, capsys):
    rows = [{"instruction": row["prompt"], "output": row["response"]} for row in rows_of("en.jsonl")]
    Path("en.json").write_text(json.dumps(rows), encoding="utf-8")
    turns = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["response"]},
            ]
        }
        for row in rows_of("xx.jsonl")
    ]
    write_rows("xx.jsonl", turns)
    assert main(clo_pairs("--instructions", "en.json", "--translations", "xx.jsonl", "--held-out", "9")) == 0
    items = [*read_items(Path("out/pairs.jsonl"))[0], *read_items(Path("out/heldout.jsonl"))[0]]
    wanted = {row["prompt"]: turns[n]["messages"][0]["content"] for n, row in enumerate(rows_of("en.jsonl"))}
    assert len(items) > 90 and len({item.id for item in items}) == len(items)
    assert all(item.target_prompt == wanted[item.english_prompt] for item in items)
    assert "their order" in Path("out/report.html").read_text(encoding="utf-8")


def test_aligned_documents(world, capsys):
    chance = random.Random(1)
    rows = []
    for page in range(40):
        for number in range(6):
            kind = "par" if number % 3 else "hd"
            cells = f"en {words(chance, 6)}", f"xx {words(chance, 6)}"
            rows.append("\t".join((f"page{page}", f"{kind}_{number}", *cells)))
    Path("docs").mkdir()
    lines("docs/pairs.tsv", rows)
    more = (
        "--english-wording",
        "Explain: {prompt}",
        "--target-wording",
        "Erkläre: {prompt}",
        "--held-out",
        "12",
    )
    assert main(clo_pairs("--aligned", "docs", *more)) == 0
    training, apart = (read_items(Path("out") / name)[0] for name in ("pairs.jsonl", "heldout.jsonl"))
    assert len(apart) == 12 and len(training) + len(apart) <= 80
    assert all(item.english_prompt.startswith("Explain: ") for item in training)
    assert all(
        item.target_prompt.startswith("Erkläre: ") and "\n" in item.target_response for item in training
    )
    pages = [{item.id.split("#")[0] for item in items} for items in (training, apart)]
    assert not pages[0] & pages[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "no source of items; expected one of --instructions, --aligned, --parallel"),
        ((*PARALLEL, "--aligned", "docs"), "--aligned and --parallel; expected one of"),
        (("--instructions", "en.jsonl"), "--instructions without --translations"),
        (("--translations", "xx.jsonl", *PARALLEL), "--translations without --instructions"),
        (("--instructions", "en.jsonl", "--translations", "none.json"), "no file none.json"),
        (("--parallel", "a.en", "none.xx"), "no file none.xx"),
        (("--aligned", "nowhere"), "no file nowhere"),
        (
            ("--parallel", "a.en", "short.xx"),
            "a.en with 400 lines and short.xx with 399; expected as many lines",
        ),
        (("--instructions", "a.en", "--translations", "xx.jsonl"), "no JSON object; expected Alpaca"),
        (
            ("--instructions", "qa.jsonl", "--translations", "xx.jsonl"),
            "with the fields answer, question; expected Alpaca",
        ),
        ((*TRANSLATED, "--format", "dolly"), "the format 'dolly'; expected auto, alpaca"),
        ((*TRANSLATED, "--format", "sharegpt"), "100 conversations is not a list of turns"),
        (
            ("--instructions", "en.jsonl", "--translations", "short.jsonl"),
            "en.jsonl with 100 rows and short.jsonl with 50",
        ),
        ((*PARALLEL, "--held-out", "500"), "expected 500 held out"),
        ((*PARALLEL, "--english-wording", "Go on"), "the wording 'Go on'"),
        ((*PARALLEL, "--minimum-characters", "700"), "--minimum-characters 700"),
        (("--parallel", "a.en", "a.en"), "200 left out: identical answers"),
        ((*PARALLEL, "--minimum-characters", "599"), "no paired item is left of 0"),
    ],
)
def test_one_line_for_what_goes_wrong(world, capsys, more, said):
    lines("short.xx", Path("a.xx").read_text(encoding="utf-8").splitlines()[:-1])
    write_rows("short.jsonl", [{"prompt": f"p{n}", "response": f"r{n}"} for n in range(50)])
    write_rows("qa.jsonl", [{"question": "a", "answer": "b"}])
    before = sorted(file.name for file in world.iterdir())
    assert main(clo_pairs(*more)) == 2
    assert said in error_of(capsys)
    assert sorted(file.name for file in world.iterdir()) == before


def test_languages_that_cannot_be(world, capsys):
    assert main(clo_pairs(*PARALLEL, language=None)) == 2
    assert "no --target-language" in error_of(capsys)
    for language in ("en", "pt-BR", "Swahili"):
        assert main(clo_pairs(*PARALLEL, language=language)) == 2
        assert f"--target-language {language}; expected the short code of another" in error_of(capsys)
    assert main(clo_pairs("--aligned", "libreoffice-help-de", language="sw")) == 2
    assert "--target-language sw with libreoffice-help-de; expected de" in error_of(capsys)
    pytest.importorskip("lingua")
    assert main(["clo", "pairs", *PARALLEL, "--target-language", "xx", "--out", "out"]) == 2
    assert "which lingua does not identify" in (said := error_of(capsys)) and "--identifier none" in said


def test_translations_into_a_wrong_language(world, capsys):
    pytest.importorskip("lingua")
    german = "Der Garten hinter unserem Haus ist im Sommer voller Blumen, und die Kinder spielen dort jeden Tag. {}"
    swahili = "Watoto wanacheza kila siku katika bustani nyuma ya nyumba yetu, na wakati wa joto kuna maua mengi. {}"
    english = (
        "The garden behind our house is full of flowers in summer, and the children play there every day. {}"
    )
    chance = random.Random(0)
    names = [words(chance, 3) for _ in range(80)]
    lines("b.en", [english.format(name) for name in names])
    lines("b.sw", [(german if n in {11, 30} else swahili).format(name) for n, name in enumerate(names)])
    assert (
        main(["clo", "pairs", "--parallel", "b.en", "b.sw", "--target-language", "sw", "--out", "out"]) == 0
    )
    said = capsys.readouterr().out
    assert "1  left out: target_response not in Swahili" in said
    assert "1  left out: target_prompt not in Swahili" in said
    assert len(read_items(Path("out/pairs.jsonl"))[0]) == 38


@pytest.mark.real
def test_real_help_and_real_news(tmp_path, monkeypatch, capsys, real_asset, shared_data):
    pytest.importorskip("lingua")
    monkeypatch.chdir(tmp_path)
    real_asset("libreoffice-help-de")
    news = shared_data("swahili")
    more = ("--held-out", "100", "--maximum-characters", "400", "--identifier", "none")
    assert main(["clo", "pairs", "--aligned", "libreoffice-help-de", *more, "--out", "de"]) == 0
    parallel = ("--parallel", str(news / "dev.en"), str(news / "dev.sw"), "--target-language", "sw")
    assert main(["clo", "pairs", *parallel, *more, "--out", "sw"]) == 0
    for name, least in (("de", 6400), ("sw", 400)):
        training, apart = (read_items(Path(name) / file)[0] for file in ("pairs.jsonl", "heldout.jsonl"))
        assert len(training) >= least and len(apart) == 100
        known = [item.target_response for item in training]
        assert remove_near_duplicates([item.target_response for item in apart], known)[1] == 0
        assert all(held_out(item.id.split("#")[0]) == there for items, there in ((training, False), (apart, True))
                   for item in items if name == "de")  # fmt: skip
