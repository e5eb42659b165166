"""The collectives of each program in each layout, derived from `layouts.CONFIG` and not from a run.

A key is (kind, in how many loops, the result on each device). The fine-tunes train LoRA of rank r on all 7 kernels of a
layer. Their step is a loop, and in a scanned stack the layers are a loop within it.

`data`: rows and edits split, weights whole. Edits have nothing to say to one another; one fine-tune sums the gradients
of its adapter, its loss and the number of its targets, and asks whether any device has a row.
`fsdp`: the same, and weights are gathered layer by layer, in the backward pass again. The first layer's backward pass
stops at q, k and v: below them nothing is trained, so an unrolled stack leaves those out; a scan treats layers alike.
`model`: kernels split. Forward, a layer sums the products of `o_proj` and `down_proj`, and of their LoRA factors `a`;
backward, those of the 5 kernels that are split by columns, and of their factors `b`. The embedding is summed, for only
one device has a token's row; of the logits only their maximum, the sum of their exponentials and the chosen one are.
"""

from __future__ import annotations

from collections import Counter

from layouts import CONFIG, RANK

L, D, V = CONFIG.num_layers, CONFIG.hidden_size, CONFIG.vocab_size
COLUMNS = {"q": 32, "k": 16, "v": 16, "gate": 48, "up": 48}  # [D, out]
ROWS = {"o": 32, "down": 48}  # [in, D]
BELOW = ("q", "k", "v")
SIZES = {  # of the axes data * fsdp, fsdp, model
    "data": (8, 1, 1),
    "fsdp": (8, 8, 1),
    "model": (4, 1, 2),
    "all": (4, 2, 2),
}
Said = Counter[tuple[str, int, str]]


def add(said: Said, kind: str, loops: int, *shape: int, n: int = 1, dtype: str = "f32") -> None:
    """Count n more of a kind."""
    said[kind, loops, f"{dtype}[{','.join(map(str, shape))}]"] += n


def gathers(said: Said, loops: int, model: int, names: tuple[str, ...] = (*COLUMNS, *ROWS), n: int = 1) -> None:
    """The kernels of a layer, n times."""
    for name in names:
        shape = (D, COLUMNS[name] // model) if name in COLUMNS else (ROWS[name] // model, D)
        add(said, "all-gather", loops, *shape, n=n)


def ends(said: Said, loops: int, layout: str, tokens: tuple[int, ...]) -> None:
    """Embedding and output matrix."""
    _, fsdp, model = SIZES[layout]
    if fsdp > 1:
        add(said, "all-gather", loops, V // model, D)
        add(said, "all-gather", loops, D, V // model)
    if model > 1:
        add(said, "all-reduce", loops, *tokens, D)


def forward(layout: str, stack: str, loops: int = 0, tokens: tuple[int, ...] = (), lora: bool = False) -> Said:
    """A forward pass up to the logits; tokens: the shape of those a device has."""
    groups, fsdp, model = SIZES[layout]
    tokens = tokens or (8 // groups, 12)
    said: Said = Counter()
    ends(said, loops, layout, tokens)
    deep, n = (loops + 1, 1) if stack == "scan" else (loops, L)
    if fsdp > 1:
        gathers(said, deep, model, n=n)
    if model > 1:
        add(said, "all-reduce", deep, *tokens, D, n=2 * n)
        if lora:
            add(said, "all-reduce", deep, *tokens, RANK, n=2 * n)
    return said


def loss(said: Said, layout: str, tokens: tuple[int, ...]) -> None:
    """What the log-probability of the targets needs of logits that are split, and the way back through them."""
    if SIZES[layout][2] > 1:
        add(said, "all-reduce", 1, *tokens, n=2)
        add(said, "all-reduce", 1, *tokens, 1)
        add(said, "all-reduce", 1, *tokens, D)


def backward(said: Said, layout: str, stack: str, tokens: tuple[int, ...]) -> None:
    """Through the layers."""
    _, fsdp, model = SIZES[layout]
    deep, n = (2, 1) if stack == "scan" else (1, L)
    unneeded = 0 if stack == "scan" else len(BELOW)
    if fsdp > 1:
        gathers(said, deep, model, n=n)
        if unneeded:
            gathers(said, deep, model, BELOW, n=-1)
    if model > 1:
        add(said, "all-reduce", deep, *tokens, D, n=len(COLUMNS) * n - unneeded)
        add(said, "all-reduce", deep, *tokens, RANK, n=len(COLUMNS) * n)


def norms(said: Said, layout: str, *shape: int) -> None:
    """The norm of the gradients, to report it and to clip it: squares of every leaf that is split are summed.

    `model` splits b of column kernels and a of row kernels, `fsdp` the others (of one adapter; many are not split).
    """
    _, fsdp, model = SIZES[layout]
    leaves = 7 * (model > 1) + 7 * (fsdp > 1 and not shape)
    if leaves:
        add(said, "all-reduce", 1, *shape, n=2 * leaves)


def batch(layout: str, stack: str) -> Said:
    """`finetune_batch` of 8 edits of one row."""
    groups = SIZES[layout][0]
    tokens = (8 // groups, 1, 12)
    said = forward(layout, stack, 1, tokens, lora=True)
    loss(said, layout, tokens)
    backward(said, layout, stack, tokens)
    norms(said, layout, 8 // groups)
    return +said


def one(layout: str, stack: str) -> Said:
    """`finetune` of one adapter on 8 rows."""
    groups, fsdp, model = SIZES[layout]
    tokens = (8 // groups, 12)
    said = forward(layout, stack, 1, tokens, lora=True)
    loss(said, layout, tokens)
    backward(said, layout, stack, tokens)
    norms(said, layout)
    add(said, "all-reduce", 1, n=2)  # the loss and the number of targets
    add(said, "all-reduce", 0, 2, dtype="pred")  # which of the 2 steps have a row
    deep, n = (2, 1) if stack == "scan" else (1, L)
    for out in COLUMNS.values():  # gradients are summed before they are transposed
        add(said, "all-reduce", deep, RANK, D, n=n)
        add(said, "all-reduce", deep, out // model, RANK, n=n)
    for fan_in in ROWS.values():
        add(said, "all-reduce", deep, RANK, fan_in // model, n=n)
        add(said, "all-reduce", deep, D, RANK, n=n)
    if fsdp > 1:  # the factors that are split over fsdp, forward and backward
        add(said, "all-gather", deep, D, RANK, n=2 * n * len(COLUMNS) - (0 if stack == "scan" else len(BELOW)))
        add(said, "all-gather", deep, RANK, D, n=2 * n * len(ROWS))
    return +said


def generation(layout: str, prompt: int, adapters: bool) -> Said:
    """Prefill and the loop of `generate` on 8 rows, or of `generate_batch` on 8 adapters with one row each.

    Logits stay split: devices agree on numbers for each row.
    """
    groups, _, model = SIZES[layout]
    rows = 8 // groups
    said: Said = Counter()
    for loops, length in ((0, prompt), (1, 1)):
        tokens = (rows, 1, length) if adapters else (rows, length)
        said += forward(layout, "unroll", loops, tokens, lora=adapters)
        if model > 1:
            add(said, "all-reduce", loops, rows, n=3)  # the largest, for the token and for the log-probability; a sum
            add(said, "all-reduce", loops, rows, dtype="s32")  # where the largest is
            add(said, "all-reduce", loops, rows, 1)  # the chosen one
    add(said, "all-reduce", 1, dtype="pred")  # have all rows ended
    return +said
