"""Every pair of a real map against one hook and one ordinary `generate` a pair, on real models and prompts.

    python benchmarks/patching_exactness.py --pairs xnli.jsonl xquad.jsonl --out runs/exactness.jsonl
        [--models smollm2-135m-instruct,gemma-3-270m] [--sites ffn,attn] [--row 17] [--new-tokens 20]
        [--page docs/results/patching_exactness.md]

One row of each file is swept. Finished maps are kept in --out, so the same command continues a killed run, and --page
shows all that --out holds. In float32 logits must agree to 1e-4 of their scale, and all argmaxes and texts must be
equal (the script fails otherwise); with --dtypes float32,bfloat16 the share that agrees in bfloat16, where batching
changes rounding, is reported too.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lingraft.models.hooks import Patch, capture, patch
from lingraft.models.loading import load_model
from lingraft.patching.engine import transplant_all
from lingraft.patching.instances import read_instances
from lingraft.patching.pairs import all_pairs
from lingraft.patching.prefill import prefill
from lingraft.patching.sites import patch_site
from lingraft.patching.sweep import end_tokens

TOLERANCE = 1e-4


def naive(
    model: Any, ids: Sequence[int], value: torch.Tensor, site: Any, layer: int, new_tokens: int
) -> tuple[torch.Tensor, list[int]]:
    """First logits and greedy tokens of transformers' own `generate`, patched while the prompt is read."""
    tokens = torch.tensor([list(ids)])
    with torch.no_grad(), patch(model, [Patch(site, layer, value[None])]):
        out = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return out.logits[0][0].float(), out.sequences[0, tokens.shape[1] :].tolist()


def compare(reference: str, dtype: str, name: str, instance: Any, new_tokens: int) -> dict[str, Any]:
    """One model, type, site and row: the whole map both ways."""
    loaded = load_model(reference, dtype=dtype, device="cpu", accept_terms=True)
    model, tokenizer, site = loaded.model, loaded.tokenizer, patch_site(name)
    donor_ids, ids = (tokenizer(text)["input_ids"] for text in (instance.donor[0], instance.receiver))
    began = time.perf_counter()
    receiver, donor = prefill(model, ids), prefill(model, donor_ids, [site])
    pairs = all_pairs(len(donor.sites[site]))
    rows = transplant_all(model, receiver, [donor], pairs, [site])
    logits = rows.logits.float().clone()
    ends = frozenset(end_tokens(model))
    texts = rows.greedy(new_tokens, ends)
    ours = time.perf_counter() - began
    with torch.no_grad(), capture(model, [site]) as captured:
        model(input_ids=torch.tensor([donor_ids]), use_cache=False)
    values = captured[site][:, 0]
    worst, tokens, same = 0.0, 0, 0
    began = time.perf_counter()
    for row in range(len(pairs)):
        plain, text = naive(
            model, ids, values[pairs.donor_layer[row]], site, int(pairs.receiver_layer[row]), new_tokens
        )
        worst = max(worst, float((plain - logits[row]).abs().max() / plain.abs().max()))
        tokens += int(plain.argmax() == logits[row].argmax())
        same += int(text == texts[row])
    print(
        f"{reference} {dtype} {name}: {worst:.1e} {tokens} {same} of {len(pairs)}",
        file=sys.stderr,
        flush=True,
    )
    return {
        "model": reference,
        "dtype": dtype,
        "site": name,
        "task": instance.task,
        "row": instance.id,
        "new_tokens": new_tokens,
        "pairs": len(pairs),
        "prompts": f"{len(donor_ids)} and {len(ids)} tokens",
        "largest_difference": worst,
        "equal_argmaxes": tokens,
        "equal_texts": same,
        "seconds": ours,
        "naive_seconds": time.perf_counter() - began,
    }


def finished(out: Path) -> list[dict[str, Any]]:
    """What earlier runs compared."""
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def kept_or_compared(
    out: Path, reference: str, dtype: str, name: str, instance: Any, new_tokens: int
) -> dict[str, Any]:
    """The comparison from an earlier run, or a new one, which is then kept."""
    key = {
        "model": reference,
        "dtype": dtype,
        "site": name,
        "task": instance.task,
        "row": instance.id,
        "new_tokens": new_tokens,
    }
    for line in finished(out):
        if key.items() <= line.items():
            return dict(line)
    made = compare(reference, dtype, name, instance, new_tokens)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(made) + "\n")
    return made


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="smollm2-135m-instruct,gemma-3-270m")
    parser.add_argument("--sites", default="ffn,attn")
    parser.add_argument("--dtypes", default="float32")
    parser.add_argument("--row", type=int, default=17)
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    instances = [read_instances(path)[arguments.row] for path in arguments.pairs]
    wanted = [
        (reference, dtype, name, instance)
        for reference in arguments.models.split(",")
        for dtype in arguments.dtypes.split(",")
        for instance in instances
        for name in arguments.sites.split(",")
    ]
    found = [kept_or_compared(arguments.out, *each, arguments.new_tokens) for each in wanted]
    if arguments.page is not None:
        write_page(arguments.page, finished(arguments.out))
    exact = [line for line in found if line["dtype"] == "float32"]
    return int(
        any(
            line["largest_difference"] > TOLERANCE
            or min(line["equal_argmaxes"], line["equal_texts"]) < line["pairs"]
            for line in exact
        )
    )


def write_page(page: Path, found: Sequence[dict[str, Any]]) -> None:
    """Write the results page."""
    lines = [
        "# Whole maps of real models against one forward a pair",
        "",
        "```sh",
        "python benchmarks/patching_exactness.py --out runs/exactness.jsonl --pairs xnli.jsonl --row 0 --new-tokens 4",
        "python benchmarks/patching_exactness.py --out runs/exactness.jsonl --pairs xnli.jsonl --row 3 --new-tokens 20"
        " --sites ffn --page docs/results/patching_exactness.md",
        "```",
        "",
        "Rows of files that `lingraft patch pairs` wrote, donor English. Every layer pair is compared with the greedy",
        "`generate` of transformers under one hook. The difference is the largest of any logit, as a share of the",
        "largest logit of its row. In float32 every first token and every text must be the same. bfloat16, where",
        "computing rows in a batch rounds otherwise than computing them one by one: see patching_speed.md.",
        "",
        "| model | type | task, row | site | prompts | pairs | new tokens | largest difference | equal first tokens "
        "| equal texts | ours | one by one |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in found:
        cells = (
            line["model"],
            line["dtype"],
            f"{line['task']}, {line['row']}",
            line["site"],
            line["prompts"],
            str(line["pairs"]),
            str(line["new_tokens"]),
            f"{line['largest_difference']:.1e}",
            f"{100 * line['equal_argmaxes'] / line['pairs']:.1f} %",
            f"{100 * line['equal_texts'] / line['pairs']:.1f} %",
            f"{line['seconds']:.1f} s",
            f"{line['naive_seconds']:.0f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Written on {platform.machine()}, one thread, with other work on the machine.", ""]
    page.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
