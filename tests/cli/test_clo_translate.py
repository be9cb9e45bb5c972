"""`lingraft clo translate` as it is typed: paired items, kept work, and one line for whatever goes wrong."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lingraft.cli.app import main
from lingraft.preference.items import read_items

lingua = pytest.importorskip("lingua")

ROWS = [
    (
        "How do I open a document in the editor?",
        "Choose the file in the menu, and then press the button twice.",
    ),
    (
        "What is the size of the paper?",
        "The paper is 210 by 297 millimetres, as `A4` says on https://a.example/p.",
    ),
    ("Translate this sentence into French: I like tea.", "J'aime le thé."),
    ("Name one green fruit.", "An apple is green, when it is not yet ripe in the summer."),
]
SPANISH = {
    ROWS[0][0]: "¿Cómo abro un documento en el editor?",
    ROWS[0][1]: "Elija el archivo en el menú y luego pulse el botón dos veces.",
    ROWS[1][0]: "¿Cuál es el tamaño del papel?",
    ROWS[1][1]: "El papel mide 210 por 297 milímetros, como dice `A4` en https://a.example/p.",
    ROWS[3][0]: "Nombre una fruta verde.",
    ROWS[3][1]: "Una manzana es verde cuando todavía no está madura en el verano.",
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINGRAFT_CACHE", str(tmp_path / "cache"))
    write("english.jsonl", [{"prompt": prompt, "response": response} for prompt, response in ROWS])
    write("parallel.jsonl", [{"source": text, "target": other} for text, other in SPANISH.items()])
    return tmp_path


def write(name, rows):
    Path(name).write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def lines(name):
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def command(*more, engine="parallel:parallel.jsonl", language="es", out="out", data="english.jsonl"):
    required = ["--instructions", data, "--engine", engine, "--target-language", language, "--out", out]
    return ["clo", "translate", *required, *more]


def error_of(capsys):
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out, said.err
    return said.err


def test_what_is_typed_and_what_lies_on_the_disk(world, capsys):
    assert main(command("--engine-licence", "CC0-1.0")) == 0
    said = capsys.readouterr()
    assert "3 items in es" in said.out and "licence: CC0-1.0" in said.out
    assert "refused: 1 asks for a translation" in said.out and not said.err
    items, refused = read_items(Path("out/pairs.jsonl"))
    assert not refused and [item.id for item in items] == ["1", "2", "4"]
    assert items[1].target_response == SPANISH[ROWS[1][1]] and items[1].target_language == "es"
    assert items[1].english_prompt == ROWS[1][0]
    assert [row["reason"] for row in lines("out/rejects.jsonl")] == ["asks for a translation"]
    result = json.loads(Path("out/result.json").read_text(encoding="utf-8"))
    assert result["metrics"]["engine"] == "parallel:parallel.jsonl"
    assert result["metrics"]["engine_version"].startswith("sha256:")
    assert result["metrics"]["engine_licence"] == "CC0-1.0"
    assert result["counts"]["items"] == {"kept": 3, "asks for a translation": 1}
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Una manzana" in page and "asks for a translation" in page and "CC0-1.0" in page
    # Again: nothing is translated any more, and the items are the same bytes.
    before = Path("out/pairs.jsonl").read_bytes()
    assert main([*command("--engine-licence", "CC0-1.0"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["sentences"] == {"translated now": 0, "from the cache": 6}
    assert Path("out/pairs.jsonl").read_bytes() == before
    assert main(command("--limit", "2", "--engine-licence", "CC0-1.0")) == 2
    assert "differs in: limit" in error_of(capsys)


def test_each_refused_item_is_kept_with_its_reason(world, capsys):
    rows = [{"source": text, "target": other} for text, other in SPANISH.items()]
    rows[1]["target"] = "Wählen Sie die Datei im Menü und drücken Sie dann zweimal auf die Taste."
    rows[3]["target"] = ROWS[1][1]
    del rows[5]["target"]
    rows.append({"source": "Say hello.", "target": "Di hola."})
    rows.append({"source": "Hello there, my dear old friend!", "target": "Hola " * 40})
    write("parallel.jsonl", rows)
    with Path("english.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "Say hello.", "response": "Hello there, my dear old friend!"}\n')
        file.write('{"prompt": "x"}\nnonsense\n')
        file.write('{"prompt": "Greet me.", "response": "Bonjour, mon cher vieil ami de toujours !"}\n')
    with Path("english.jsonl").open("r", encoding="utf-8") as file:
        assert len(file.readlines()) == 8
    assert main(command()) == 2
    assert "no translated item is left" in error_of(capsys)
    reasons = {row["id"]: row["reason"] for row in lines("out/rejects.jsonl")}
    assert reasons == {
        "1": "target_response not in Spanish",
        "2": "identical answers",
        "3": "asks for a translation",
        "4": "no target_response",
        "5": "target_response too long for its English",
        "8": "response not in English",
    }
    german = next(row for row in lines("out/rejects.jsonl") if row["id"] == "1")
    assert german["target_response"].startswith("Wählen") and german["english_prompt"] == ROWS[0][0]
    bad = sorted((row["line"], row["reason"]) for row in lines("out/bad_lines.jsonl"))
    assert bad == [(6, "no response"), (7, "invalid JSON")]
    assert not Path("out/pairs.jsonl").exists() and not Path("out/result.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "babelfish:x"}, "--engine 'babelfish:x'; expected apertium:eng-spa"),
        ({"engine": "apertium:eng-cat", "language": "ca"}, "no apertium with the pair eng-cat on the PATH"),
        ({"engine": "apertium:eng-spa"}, "no apt-get to fetch apertium-eng-spa with"),
        ({"engine": "apertium:eng-spa", "language": "eu"}, "a pair from en to eu"),
        ({"engine": "parallel:nowhere.jsonl"}, "no file nowhere.jsonl"),
        ({"engine": "ctranslate2:."}, "holds no model.bin"),
        ({"engine": "seq2seq:./nowhere"}, "no file or directory './nowhere'"),
        ({"engine": "endpoint:localhost"}, "endpoint:URL#MODEL"),
        ({"language": "xx"}, "--target-language 'xx', which lingua does not identify"),
        ({"data": "nowhere.jsonl"}, "no file nowhere.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(world, capsys, monkeypatch, options, said):
    monkeypatch.setenv("PATH", str(world))
    assert main(command(**options)) == 2
    assert said in error_of(capsys)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("library", "engine", "extra"),
    [("lingua", None, "corpora"), ("ctranslate2", "ctranslate2:.", "translate")],
)
def test_a_missing_extra(world, capsys, monkeypatch, library, engine, extra):
    monkeypatch.setitem(sys.modules, library, None)
    assert main(command(**({"engine": engine} if engine else {}))) == 2
    assert f'pip install "lingraft[{extra}]"' in error_of(capsys)
    if library == "lingua":
        assert main(command("--identifier", "none")) == 0
        assert "3 items" in capsys.readouterr().out


def test_a_language_that_no_identifier_knows_goes_without(world, capsys):
    assert main(command("--identifier", "none", language="ay")) == 0
    assert "3 items in ay" in capsys.readouterr().out


class Handler(BaseHTTPRequestHandler):
    """Answers from `SPANISH`, whatever the marks in a text; refuses after `server.lives` answers."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        self.server.asked.append(text)
        status, answer = 200, {"choices": [{"message": {"content": self.server.translate(text)}}]}
        if len(self.server.asked) > self.server.lives:
            status, answer = 402, {"error": {"message": "no credit left"}}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def endpoint(lives, translate):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.lives, server.translate = [], lives, translate
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spanish(text):
    """Translate what has been masked, as a model would: the marks are copied."""
    found = [other for english, other in SPANISH.items() if masked(english) == text]
    return masked(found[0]) if found else ""


def masked(text):
    return text.replace("`A4`", "⟦0⟧").replace("https://a.example/p", "⟦1⟧")


def test_an_engine_that_dies_half_way_goes_on_where_it_was(world, capsys):
    with endpoint(4, spanish) as server:
        typed = command("--requests", "1", engine=f"endpoint:http://127.0.0.1:{server.server_port}/v1#m")
        assert main(typed) == 2
        said = error_of(capsys)
        assert "HTTP 402: no credit left (4 new translations are kept, at least 2 are to do)" in said
        assert "run the same command again" in said
        assert not Path("out/pairs.jsonl").exists() and not Path("out/result.json").exists()
        server.lives = 10**6
        assert main(typed) == 0
        assert "2 sentences translated now, 4 from the cache" in capsys.readouterr().out
        assert len(server.asked) == 7 and len(set(server.asked)) == 6
    items, _ = read_items(Path("out/pairs.jsonl"))
    assert [item.target_response for item in items] == [SPANISH[ROWS[row][1]] for row in (0, 1, 3)]


def test_killed_in_the_middle_and_started_again(world):
    """SIGKILL: what an undisturbed run gives, and no text is asked for twice but what was under way."""
    rows = [
        {"prompt": f"Is {n} an even number?", "response": f"It is number {n} of them."} for n in range(60)
    ]
    write("numbers.jsonl", rows)

    def slowly(text):
        time.sleep(0.02)
        return text.replace("Is", "Es").replace("an even number", "un número par").replace("It is", "Es el")

    with endpoint(10**6, slowly) as server:
        engine = f"endpoint:http://127.0.0.1:{server.server_port}/v1#m"
        options = ("--identifier", "none", "--requests", "2", "--batch-size", "4")
        typed = command(*options, engine=engine, data="numbers.jsonl")
        process = subprocess.Popen(
            [sys.executable, "-m", "lingraft.cli.app", *typed],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 120
        while len(server.asked) < 50 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not Path("out/pairs.jsonl").exists()
        assert main(typed) == 0
        again = len(server.asked) - len(set(server.asked))
        assert len(set(server.asked)) == 120 and again <= 4
        assert main(command(*options, engine=engine, data="numbers.jsonl", out="undisturbed")) == 0
    assert Path("out/pairs.jsonl").read_bytes() == Path("undisturbed/pairs.jsonl").read_bytes()
    assert lines("out/rejects.jsonl") == lines("undisturbed/rejects.jsonl") == []


def test_instructions_of_a_data_set(world, capsys):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(lines("english.jsonl")).save_to_disk("set")
    assert main(command("--json", data="hf:set")) == 0 and main(command(out="file")) == 0
    assert lines("out/pairs.jsonl") == lines("file/pairs.jsonl") != []
    named = ["--instructions", "hf:set", "--translations", "hf:set", "--target-language", "es"]
    assert main(["clo", "pairs", *named, "--out", "paired"]) == 2
    assert "identical answers" in capsys.readouterr().err


def test_a_cache_shared_between_runs(world, capsys):
    assert main(command("--cache", "shared.sqlite", out="one")) == 0
    capsys.readouterr()
    assert main(command("--cache", "shared.sqlite", out="two", data="english.jsonl")) == 0
    assert "0 sentences translated now, 6 from the cache" in capsys.readouterr().out
    assert not Path("one/translations.sqlite").exists()
    Path("shared.sqlite").write_text("nonsense" * 100)
    assert main(command("--cache", "shared.sqlite", out="three")) == 2
    assert "translation cache shared.sqlite cannot be used" in error_of(capsys)


@pytest.mark.real
def test_apertium_for_real(world, capsys, monkeypatch):
    monkeypatch.delenv("LINGRAFT_CACHE")
    from lingraft.assets.catalog import find_asset

    if find_asset("apertium-eng-spa") is None:
        pytest.skip("apertium-eng-spa is not in the asset cache")
    assert main(command(engine="apertium:eng-spa")) == 0
    said = capsys.readouterr().out
    assert "3 items in es by apertium:eng-spa (apertium" in said and "GPL" in said
    items, _ = read_items(Path("out/pairs.jsonl"))
    assert "`A4`" in items[1].target_response and "https://a.example/p" in items[1].target_response
    assert "210" in items[1].target_response and "verde" in items[2].target_prompt
