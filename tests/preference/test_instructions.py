"""Instruction data of every format gives the same instructions; bad rows have a number and a reason."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from lingraft.errors import ConfigError, CorpusError
from lingraft.preference.instructions import Instruction, read_instructions

WANTED = [("How big?", "Very big."), ("Name a river.", "The Zambezi.\nOr the Nile — नील.")]

ALPACA = [{"instruction": p, "input": "", "output": r} for p, r in WANTED]
PLAIN = [{"id": n, "prompt": p, "response": r} for n, (p, r) in enumerate(WANTED)]
SHAREGPT = [
    {
        "id": f"c{n}",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": p},
            {"from": "gpt", "value": r},
            {"from": "human", "value": "And then?"},
            {"from": "gpt", "value": "No more."},
        ],
    }
    for n, (p, r) in enumerate(WANTED)
]
MESSAGES = [
    {"prompt_id": f"m{n}", "messages": [{"role": "user", "content": p}, {"role": "assistant", "content": r}]}
    for n, (p, r) in enumerate(WANTED)
]


def message(name, parent, role, text, *, lang="en", rank=None, **more):
    row = {"message_id": name, "parent_id": parent, "role": role, "text": text, "lang": lang, "rank": rank}
    return row | more


OASST = [
    # An answer may come before its prompt, and the best one last.
    message("a2", "p0", "assistant", "Worse.", rank=1),
    message("p0", None, "prompter", WANTED[0][0]),
    message("p1", None, "prompter", WANTED[1][0]),
    message("a0", "p0", "assistant", "Unranked.", rank=None),
    message("a1", "p0", "assistant", WANTED[0][1], rank=0),
    message("q0", "a1", "prompter", "A second question"),
    message("d1", "p1", "assistant", "Deleted.", rank=0, deleted=True),
    message("b1", "p1", "assistant", WANTED[1][1], rank=1),
    message("es", None, "prompter", "¿Qué?", lang="es"),
    message("es1", "es", "assistant", "Nada.", lang="es"),
]


def tree(*replies, **root):
    """A tree as the released `trees` files hold it; replies inside it need not say whose they are."""
    return {
        "message_tree_id": root["message_id"],
        "tree_state": "ready_for_export",
        "prompt": root | {"replies": replies},
    }


def inside(text, role="assistant", *replies, **more):
    return {
        "message_id": f"i{text}",
        "role": role,
        "text": text,
        "lang": "en",
        "replies": list(replies),
    } | more


TREES = [
    tree(
        inside("Worse.", rank=1),
        inside(
            WANTED[0][1],
            "assistant",
            inside("A second question", "prompter", inside("And its answer")),
            rank=0,
        ),
        **message("p0", None, "prompter", WANTED[0][0]),
    ),
    tree(inside("Nada."), **message("es", None, "prompter", "¿Qué?", lang="es")),
    tree(
        inside("Deleted.", rank=0, deleted=True),
        inside("Spam.", rank=0, review_result=False),
        inside(WANTED[1][1], rank=2, review_result=True),
        **message("p1", None, "prompter", WANTED[1][0], lang="en-GB"),
    ),
]
THREADS = [
    {"thread_id": f"t{n}{end}", "thread": [{**message(f"p{n}", None, "prompter", p)}, inside(r), *more]}
    for n, (p, r) in enumerate(WANTED)
    # Two threads of one tree, the longer one with another first answer: the first in the file wins.
    for end, r, more in (("a", r, []), ("b", "Another.", [inside("More?", "prompter"), inside("No.")]))
]
FORMATS = {
    "alpaca": ALPACA,
    "plain": PLAIN,
    "sharegpt": SHAREGPT,
    "messages": MESSAGES,
    "openassistant": OASST,
}


def write(path: Path, rows: list[object], *, as_list: bool = False) -> Path:
    if as_list:
        raw = json.dumps(rows, ensure_ascii=False, indent=1).encode()
    else:
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        raw = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    elif path.suffix == ".zst":
        raw = zstandard.compress(raw)
    path.write_bytes(raw)
    return path


def texts(found) -> list[tuple[str, str]]:
    return [(one.prompt, one.response) for one in found.instructions]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "as_list"),
    [("d.jsonl", False), ("d.json", True), ("d.json", False), ("d.jsonl.gz", False), ("d.json.zst", True)],
)
def test_every_format_in_every_file(tmp_path, kind, name, as_list):
    path = write(tmp_path / name, FORMATS[kind], as_list=as_list)
    found = read_instructions(path)
    assert found.format == kind and texts(found) == WANTED
    assert not found.refused and found.rows == len(FORMATS[kind])
    assert read_instructions(path, format=kind) == found
    assert found.has_ids == (kind != "alpaca")


def test_ids_and_places(tmp_path):
    found = read_instructions(write(tmp_path / "o.jsonl", OASST))
    assert [(one.id, one.row) for one in found.instructions] == [("p0", 1), ("p1", 2)]
    assert [one.id for one in read_instructions(write(tmp_path / "p.jsonl", PLAIN)).instructions] == [
        "0",
        "1",
    ]
    assert [one.id for one in read_instructions(write(tmp_path / "m.jsonl", MESSAGES)).instructions] == [
        "m0",
        "m1",
    ]


def test_the_language_of_trees(tmp_path):
    path = write(tmp_path / "o.jsonl", OASST)
    assert texts(read_instructions(path, language="es")) == [("¿Qué?", "Nada.")]
    assert len(read_instructions(path, language=None).instructions) == 3


PARTS = [{"type": "text", "text": text} for text in ("How ", "big?")]
SHAPES = {
    "Dolly": ("alpaca", {"instruction": "How", "context": "big?", "response": "Very big.", "category": "qa"}),
    "OpenOrca": (
        "plain",
        {"id": "o", "system_prompt": "Be.", "question": "How big?", "response": "Very big."},
    ),
    "TRL": ("plain", {"prompt": "How big?", "completion": "Very big."}),
    "UltraChat": ("messages", {"id": "0", "data": ["How big?", "Very big.", "How small?", "Not very."]}),
    "LMSYS": (
        "messages",
        {
            "conversation_id": "c",
            "conversation": [
                {"role": "user", "content": "How big?"},
                {"role": "assistant", "content": "Very big."},
            ],
        },
    ),
    "roles": (
        "sharegpt",
        {
            "conversations": [
                {"role": "user", "content": "How big?"},
                {"role": "assistant", "content": "Very big."},
            ]
        },
    ),
    "parts": (
        "messages",
        {
            "messages": [
                {"role": "system", "content": "x"},
                {"role": "user", "content": PARTS},
                {"role": "assistant", "content": "Very big."},
            ]
        },
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_released_data(tmp_path, name):
    kind, row = SHAPES[name]
    found = read_instructions(write(tmp_path / "r.jsonl", [row]))
    asked = "How\n\nbig?" if name == "Dolly" else "How big?"
    assert found.format == kind and texts(found) == [(asked, "Very big.")]


def test_what_nobody_answered_is_no_fault(tmp_path):
    """Exports hold thousands of prompts without an answer; a limit on bad lines is not for them."""
    unanswered = [message(f"u{n}", None, "prompter", "Anyone?") for n in range(5)]
    path = write(tmp_path / "o.jsonl", [*OASST, *unanswered, message("b", None, "assistant", "x")])
    found = read_instructions(path, maximum_bad_lines=1, rejects=tmp_path / "bad.jsonl")
    assert texts(found) == WANTED and found.refused["no answer"] == 5
    assert len((tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    with pytest.raises(CorpusError, match=r"^1 bad lines \(1 the first turn is not the user's\)"):
        read_instructions(path, maximum_bad_lines=0)


def test_alpaca_with_an_input(tmp_path):
    rows = [{"instruction": "Add.", "input": "2 und 3", "output": "5"}, {"instruction": "Hi", "output": "Ho"}]
    found = read_instructions(write(tmp_path / "a.jsonl", rows))
    assert texts(found) == [("Add.\n\n2 und 3", "5"), ("Hi", "Ho")]
    assert found.instructions[1] == Instruction("", "Hi", "Ho", 1)


def test_bad_rows_have_numbers_and_reasons(tmp_path):
    turns = [{"from": "human", "value": "x"}]
    bad = {
        "invalid JSON": '{"conversations": [',
        "not a JSON object": "3",
        "conversations is not a list of turns": {"conversations": "x"},
        "the first turn is not the user's": {"conversations": [{"from": "gpt", "value": "x"}]},
        "no answer": {"conversations": turns},
        "empty answer": {"conversations": [*turns, {"from": "gpt", "value": " \n"}]},
        "answer is not a string": {"conversations": [*turns, {"from": "gpt", "value": ["x"]}]},
        "no prompt": {"conversations": [{"from": "human"}, {"from": "gpt", "value": "x"}]},
    }
    path = write(tmp_path / "s.jsonl", [SHAREGPT[0], *bad.values(), SHAREGPT[1]])
    found = read_instructions(path, rejects=tmp_path / "bad.jsonl")
    assert texts(found) == WANTED and found.refused == dict.fromkeys(bad, 1)
    assert [one.row for one in found.instructions] == [0, len(bad) + 1] and found.rows == len(bad) + 2
    kept = [json.loads(line) for line in (tmp_path / "bad.jsonl").open(encoding="utf-8")]
    assert {entry["line"]: entry["reason"] for entry in kept} == dict(enumerate(bad, start=2))


@pytest.mark.parametrize(
    "rows", [TREES, [one["prompt"] for one in TREES], THREADS], ids=["trees", "nested messages", "threads"]
)
def test_every_export_of_openassistant(tmp_path, rows):
    found = read_instructions(write(tmp_path / "o.jsonl.gz", rows))
    assert found.format == "openassistant" and texts(found) == WANTED and not found.refused
    assert [one.id for one in found.instructions] == ["p0", "p1"] and found.has_ids
    assert [one.row for one in found.instructions] == [0, 2] and found.rows == len(rows)


def test_conversations_that_give_nothing(tmp_path):
    more = [
        {"message_tree_id": "x", "prompt": None},
        {"thread_id": "y", "thread": []},
        {"thread_id": "y", "thread": ["Hello"]},
        {"thread_id": "z", "thread": [message("z", None, "prompter", "Anyone?")]},
        tree(inside("Yes."), **message("s", None, "prompter", "Buy!", review_result=False)),
        tree(inside("Mine", "prompter"), **message("u", None, "prompter", "Whose?")),
    ]
    found = read_instructions(write(tmp_path / "o.jsonl", [*TREES, *more]))
    assert texts(found) == WANTED
    assert found.refused == {
        "prompt is no message": 1,
        "thread is not a list of messages": 2,
        "no answer": 2,
        "refused by its reviewers": 1,
    }


def test_a_tree_without_an_answer(tmp_path):
    rows = [*OASST, message("p2", None, "prompter", "Nobody answers"), message("x", None, "assistant", "Hm")]
    rows.append(message("p3", None, "prompter", "gone", deleted=True))
    found = read_instructions(write(tmp_path / "o.jsonl", rows))
    assert found.refused == {"no answer": 1, "the first turn is not the user's": 1, "deleted": 1}


def test_a_list_keeps_the_places_of_its_bad_rows(tmp_path):
    path = write(
        tmp_path / "d.json",
        [3, PLAIN[0], {"prompt": "half \ud83d", "response": "x"}, PLAIN[1]][:2],
        as_list=True,
    )
    found = read_instructions(path)
    assert found.refused == {"not a JSON object": 1} and found.instructions[0].row == 1
    path.write_text(r'[{"prompt": "half \ud83d", "response": "x"}, {"prompt": "a", "response": "b"}]')
    assert read_instructions(path).refused == {"a lone surrogate": 1}


def test_what_is_no_instruction_data(tmp_path):
    with pytest.raises(CorpusError, match=r"with the fields answer, question; expected Alpaca, .*--format"):
        read_instructions(write(tmp_path / "q.jsonl", [{"question": "a", "answer": "b"}]))
    with pytest.raises(ConfigError, match="the format 'dolly'; expected auto, alpaca, openassistant"):
        read_instructions(tmp_path / "q.jsonl", format="dolly")
    with pytest.raises(CorpusError, match=r"no instruction in .*1 no response.*format plain"):
        read_instructions(tmp_path / "q.jsonl", format="plain")
    with pytest.raises(CorpusError, match="no JSON object"):
        read_instructions(write(tmp_path / "e.jsonl", [""]))
    with pytest.raises(CorpusError, match="no file"):
        read_instructions(tmp_path / "missing.json")
    (tmp_path / "cut.json").write_text('[{"prompt": "a"')
    with pytest.raises(CorpusError, match="is not JSON"):
        read_instructions(tmp_path / "cut.json")
    whole = write(tmp_path / "w.json.gz", ALPACA, as_list=True).read_bytes()
    (tmp_path / "w.json.gz").write_bytes(whole[:-12])
    with pytest.raises(CorpusError, match="cannot be read"):
        read_instructions(tmp_path / "w.json.gz")
    rows = [PLAIN[0], *[{"prompt": "a", "response": ""}] * 3]
    with pytest.raises(CorpusError, match=r"3 bad lines \(3 empty response\)"):
        read_instructions(write(tmp_path / "many.jsonl", rows), maximum_bad_lines=2)
