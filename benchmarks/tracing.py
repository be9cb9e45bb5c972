"""Speed and memory of tracing words through a model's layers, beside nnterp's logit lens and the released way.

    python benchmarks/tracing.py [--model smollm2-135m-instruct] [--lexicon freedict-eng-de --target de]
        [--words 64] [--rounds 5] [--page docs/results/tracing_speed.md]

Peers are timed in turns with Lingraft, each on some of the same words: seconds of the processor, on one thread. nnterp
is optional; it is found where it is installed (its version 1.3 needs nnsight 0.6). Memory is measured in processes of
their own, on random models that differ in nothing but their vocabulary.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import transformers

from lingraft.pivots.prompt_tokens import encode_rows
from lingraft.pivots.trace_filters import split_shared
from lingraft.pivots.tracing import trace_words
from lingraft.pivots.words import read_lexicon
from lingraft.pivots.wordtask import WordTask, build_word_task

TOP = 5
VOCABULARIES = (32_000, 128_000, 512_000)
OURS, NNTERP, PLAIN, RELEASED = "Lingraft", "nnterp", "one word at a time", "released script's way"


def with_items(task, items):
    return WordTask(task.source_language, task.target_language, tuple(items), task.draws, {})


# ---------------------------------------------------------------------------------------------------------- peers
# Each takes a task and returns top tokens and probabilities, [words, layers, TOP], as far as it has them.


def ours(model, tokenizer, task):
    """`trace_words`: masses of source and target tokens, and all else that it returns, included."""
    found = trace_words(model, tokenizer, task, top=TOP)
    return found.top_ids, found.top_probabilities


def prompts_of(tokenizer, task):
    prompts = [task.prompt(item.source_word, 0) for item in task.items]
    return prompts, encode_rows(tokenizer, prompts, [item.target_word for item in task.items])


def plain_loop(model, tokenizer, task):
    """A careful loop: one forward a word, the lens at the one place, every layer's whole distribution kept."""
    kept = []
    for row in prompts_of(tokenizer, task)[1]:
        with torch.no_grad():
            output = model.model(
                torch.tensor([row.ids[: row.begin]]), output_hidden_states=True, use_cache=False
            )
            # The last entry of hidden_states has gone through the norm already.
            states = [state[0, -1] for state in output.hidden_states[1:-1]]
            lens = model.lm_head(model.model.norm(torch.stack(states)))
            lens = torch.cat([lens, model.lm_head(output.last_hidden_state[0, -1:])])
        kept.append(lens.softmax(-1))
    best = torch.stack(kept).topk(TOP, dim=-1)
    return best.indices.numpy(), best.values.numpy()


def released_way(model, tokenizer, task):
    """What the released script does, written anew.

    One word at a time: hooks on all layers, a forward of prompt and answer, every layer's logits at every place of the
    prompt, those of the question turned into Python lists, softmax, and the largest of the list. Writing a file for
    each word is left out, in its favour.
    """
    ids, values = [], []
    for item, row in zip(task.items, prompts_of(tokenizer, task)[1], strict=True):
        saved = []
        hooks = [
            layer.register_forward_hook(lambda module, given, output, saved=saved: saved.append(output))
            for layer in model.model.layers
        ]
        question = tokenizer(task.prompt(item.source_word, 0).rpartition("\n\n")[0] + "\n\n")["input_ids"]
        shown = len(row.ids) - len(question)
        with torch.no_grad():
            model(torch.tensor([row.ids]))
            for hook in hooks:
                hook.remove()
            lists = []
            for output in saved:
                state = output[0] if isinstance(output, tuple) else output
                logits = model.lm_head(model.model.norm(state.reshape(-1, state.shape[-1])))
                lists.append(logits[-shown:].tolist())
        place = shown - (len(row.ids) - row.begin) - 1
        best = []
        for layer in lists:
            said = torch.softmax(torch.tensor(layer[place]), dim=0).tolist()
            best.append(max(enumerate(said), key=lambda entry: entry[1]))
        ids.append([[index] for index, _ in best])
        values.append([[value] for _, value in best])
    return np.array(ids), np.array(values)


def nnterp_peer(reference):
    """nnterp's `logit_lens` over batches of 16 texts and the top tokens of what it returns; None without nnterp."""
    sys.argv = sys.argv[:1]
    try:
        import nnterp
        from nnterp.interventions import logit_lens
    except ImportError:
        return None
    wrapped = nnterp.StandardizedTransformer(str(reference), dtype=torch.float32, device_map="cpu")

    def peer(model, tokenizer, task):
        prompts = prompts_of(tokenizer, task)[0]
        parts = []
        for begin in range(0, len(prompts), 16):
            with torch.no_grad():
                best = logit_lens(wrapped, prompts[begin : begin + 16]).topk(TOP, dim=-1)
            parts.append((best.indices.numpy(), best.values.numpy()))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    return peer


# --------------------------------------------------------------------------------------------------------- timing


def time_peers(model, tokenizer, task, peers, rounds):
    """Seconds a word of each peer in every round, and how its answers compare with Lingraft's."""
    reference_ids, reference = ours(model, tokenizer, task)
    seconds = {name: [] for name in peers}
    agreement = {}
    for name, (peer, count) in peers.items():
        peer(model, tokenizer, with_items(task, task.items[:1]))
        agreement[name] = [0, 0, 0.0, count]
    for turn in range(rounds):
        for name, (peer, count) in peers.items():
            begin = (turn * count) % max(1, len(task.items) - count + 1)
            items = task.items[begin : begin + count]
            started = time.process_time()
            ids, values = peer(model, tokenizer, with_items(task, items))
            seconds[name].append((time.process_time() - started) / count)
            same = agreement[name]
            same[0] += int((ids[..., 0] == reference_ids[begin : begin + count, :, 0]).sum())
            same[1] += ids[..., 0].size
            apart = np.abs(values[..., 0] - reference[begin : begin + count, :, 0]).max()
            same[2] = max(same[2], float(apart))
            print(f"round {turn + 1}, {name}: {seconds[name][-1]:.3f} s a word", flush=True)
    return seconds, agreement


# --------------------------------------------------------------------------------------------------------- memory


def status(name):
    """A line of this process's own account, in bytes."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", text)[1])


def memory_worker(vocabulary, how):
    """Trace 64 words on a random model of this vocabulary; print what it took above the model, in bytes."""
    sys.path.insert(0, str(Path(__file__).parent))
    import tiny_world
    from transformers import LlamaConfig, LlamaForCausalLM

    from lingraft.pivots.languages import find_language
    from lingraft.pivots.wordtask import WordItem

    tokenizer = tiny_world.byte_bpe_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=8,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    letters = "bcdfghjklmnpqrstvwxz"
    items = tuple(
        WordItem(f"a{letters[n % 20]}o{letters[n // 20]}", "Ы" * (1 + n % 3), ("Ы",), ()) for n in range(64)
    )
    draws = ((("fox", "лиса"), ("day", "день")),)
    task = WordTask(find_language("en"), find_language("ru"), items, draws, {})
    task = with_items(task, split_shared(tokenizer, items)[0])
    run = {"ours": ours, "plain": plain_loop}[how]
    ours(model, tokenizer, with_items(task, task.items[:2]))
    # Resets the peak of this process.
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run(model, tokenizer, task)
    print(json.dumps({"words": len(task.items), "bytes": status("VmHWM") - before}))


def measure_memory():
    """For each vocabulary, what ours and the plain loop take, with freed blocks given back."""
    rows = []
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    for vocabulary in VOCABULARIES:
        found = {}
        for how in ("ours", "plain"):
            command = [sys.executable, __file__, "--memory", str(vocabulary), "--how", how]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found[how] = json.loads(done.stdout.splitlines()[-1])
            print(f"vocabulary {vocabulary:,}, {how}: {found[how]['bytes'] / 2**20:.0f} MiB", flush=True)
        rows.append((vocabulary, found["ours"], found["plain"]))
    return rows


# ----------------------------------------------------------------------------------------------------------- page


def processor():
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def page_lines(options, model, task, seconds, agreement, memory, load):
    config = model.config
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    yield "# Speed and memory of tracing words"
    yield ""
    yield (
        f"Made by `OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} python benchmarks/tracing.py"
        f"{options.given}`. {processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores used, torch"
        f" {torch.__version__}, transformers {transformers.__version__}. Load of the machine {load:.1f} before,"
        f" {os.getloadavg()[0]:.1f} at the end, this program included. Seconds are of the processor, not of the clock:"
        " other programs then count little."
    )
    yield ""
    lengths = [len(row.ids) for row in prompts_of(options.tokenizer, task)[1]]
    yield (
        f"Problem: {options.model} ({config.num_hidden_layers} layers, width {config.hidden_size}, vocabulary"
        f" {config.vocab_size:,}, float32), {len(task.items)} words of English to {task.target_language.name}, prompts"
        f" with five examples, {min(lengths)} to {max(lengths)} tokens with the target. The model is loaded once for"
        f" all. {options.rounds} rounds in which all take turns, each on its number of words, loading the model and"
        " the first call left out."
    )
    yield ""
    yield "## Words a second"
    yield ""
    yield "| | words a round | seconds a word, median (all rounds) | words a second | Lingraft is | same top token |"
    yield "|---|---|---|---|---|---|"
    for name, values in seconds.items():
        equal, total, apart, count = agreement[name]
        times = "1" if name == OURS else f"{middle[name] / middle[OURS]:.1f} times as fast"
        yield (
            f"| {name} | {count} | {middle[name]:.3f} ({min(values):.3f} to {max(values):.3f}) |"
            f" {1 / middle[name]:.2f} | {times} | {equal:,} of {total:,} layers, probability apart by at most"
            f" {apart:.0e} |"
        )
    yield ""
    if NNTERP not in seconds:
        yield "nnterp is not installed here, so it has no row."
        yield ""
    yield (
        "Lingraft is `trace_words`: the five likeliest tokens, the probability of the next token, and the masses of the"
        " source and target words' tokens in every layer. nnterp is its `logit_lens` over batches of 16 texts: it pads,"
        " reads the examples anew in every text, and keeps the whole distribution of every layer. One word at a time is"
        " a careful loop of ours, one forward a word, the lens at one place only, whole distributions kept. The"
        " released script's way is written anew from reading it (`logit/logit_lens.py`): every layer's logits at every"
        " place of the prompt, turned into Python lists for the places of the question, softmax, and the largest of"
        " the list; writing a file a word is left out."
    )
    yield ""
    yield "## Where the time goes"
    yield ""
    layers, width, vocabulary = config.num_hidden_layers, config.hidden_size, config.vocab_size
    lens = 2 * layers * width * vocabulary / 1e9
    body = sum(p.numel() for p in model.model.layers.parameters())
    prefix = statistics.median(lengths)
    yield (
        f"A word's lens is {layers} products of a state with the head, {lens:.1f} billion operations, whatever the"
        f" program; a whole prompt of {prefix:.0f} tokens is {2 * body * prefix / 1e9:.1f} billion more, of which"
        " Lingraft reads only what differs between words. So the lens is the floor: what is saved is the prompt."
    )
    yield ""
    yield "## Memory"
    yield ""
    yield (
        f"Peak above the loaded model (resident memory), {memory[0][1]['words']} words, random models of 8 layers and"
        " width 64 that differ in vocabulary only. Lingraft makes the logits of a few places at a time (at most 16 MiB"
        " of them) and keeps the tracked and the top tokens. Measured with MALLOC_MMAP_THRESHOLD_ at 1 MiB, so that"
        " freed blocks are given back: by default glibc keeps some of them, by chance more or fewer, and at a"
        " vocabulary of 128,000 single runs showed 36 to 163 MiB."
    )
    yield ""
    yield "| vocabulary | Lingraft | whole distributions kept |"
    yield "|---|---|---|"
    for size, mine, kept in memory:
        yield f"| {size:,} | {mine['bytes'] / 2**20:.0f} MiB | {kept['bytes'] / 2**20:,.0f} MiB |"
    yield ""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--lexicon", default="freedict-eng-deu", help="a catalogued lexicon of English")
    parser.add_argument("--target", default="de")
    parser.add_argument("--words", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--how", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory_worker(options.memory, options.how)
        return
    usual = {name: parser.get_default(name) for name in ("model", "lexicon", "target", "words", "rounds")}
    options.given = "".join(
        f" --{name} {getattr(options, name)}"
        for name, value in usual.items()
        if getattr(options, name) != value
    )
    from lingraft.assets.catalog import fetch_asset
    from lingraft.models.loading import load_model

    load = os.getloadavg()[0]
    loaded = load_model(options.model, dtype="float32", device="cpu", accept_terms=True)
    lexicon = read_lexicon(fetch_asset(options.lexicon).path / "pairs.tsv", "en", options.target)
    task = build_word_task(lexicon, limit=2 * options.words)
    kept, _ = split_shared(loaded.tokenizer, task.items)
    task, options.tokenizer = with_items(task, kept[: options.words]), loaded.tokenizer
    peers = {OURS: (ours, len(task.items))}
    nnterp = nnterp_peer(fetch_asset(options.model, accept_terms=True).path)
    if nnterp is not None:
        peers[NNTERP] = (nnterp, min(16, len(task.items)))
    peers[PLAIN] = (plain_loop, min(8, len(task.items)))
    peers[RELEASED] = (released_way, min(2, len(task.items)))
    seconds, agreement = time_peers(loaded.model, loaded.tokenizer, task, peers, options.rounds)
    memory = measure_memory()
    lines = list(page_lines(options, loaded.model, task, seconds, agreement, memory, load))
    print("\n".join(lines))
    if options.page is not None:
        options.page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
