"""Self-edits from a served model: any OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from seal_jax.data.squad import Passage
from seal_jax.evaluation import Client, Endpoint, EndpointError, Turns
from seal_jax.seal.edits import edit_prompt, edit_turns
from seal_jax.seal.inner_loop import Memory, Store
from seal_jax.seal.settings import Edits


def prompt_turns(passage: Passage, edits: Edits) -> Turns:
    """What the model is sent: the base form of the prompt as one user turn, or with `edits.chat` its chat form."""
    return edit_turns(passage, edits.kind) if edits.chat else Turns("", edit_prompt(passage, edits.kind))


def write_edits(
    endpoint: Endpoint,
    passages: Sequence[Passage],
    edits: Edits,
    store: Store | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[str]]:
    """`edits.count` self-edits of each passage, stripped, as `policy.write_edits` gives them; an edit may be empty.

    What `store` already holds, by "passage/edit", is not asked for again; what comes is stored at once. The draws are
    the server's, so there is no seed. on_progress: called with 1 for each edit. Raises EndpointError if the endpoint
    cannot be used, or if edits did not come after all retries, and ValueError for settings it does not know.
    """
    if edits.top_k is not None:
        raise ValueError(f"top_k {edits.top_k}: chat completions have no top-k; use top_p")
    store = Memory() if store is None else store
    ids = [(p, k) for p in range(len(passages)) for k in range(edits.count)]
    todo = [(p, k) for p, k in ids if f"{p}/{k}" not in store]
    if on_progress and len(ids) > len(todo):
        on_progress(len(ids) - len(todo))

    def keep(index: int, reply: str) -> None:
        p, k = todo[index]
        store.add(f"{p}/{k}", reply.strip())
        if on_progress:
            on_progress(1)

    client = Client(endpoint, answered=len(todo) < len(ids))
    replies = client.complete([_request(endpoint, passages[p], edits) for p, _ in todo], keep) if todo else []
    lost = replies.count(None)
    if lost:
        said = "what came is kept: do the same again for the rest"
        raise EndpointError(f"{lost} of {len(ids)} edits did not come from {endpoint.url}; {said}")
    return [[store[f"{p}/{k}"] for k in range(edits.count)] for p in range(len(passages))]


def _request(endpoint: Endpoint, passage: Passage, edits: Edits) -> dict[str, Any]:
    asked = endpoint.request(prompt_turns(passage, edits), edits.max_new_tokens, edits.temperature, edits.top_p)
    return {**asked, "stop": list(edits.stop)} if edits.stop else asked
