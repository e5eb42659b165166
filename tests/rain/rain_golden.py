"""The recorded episodes of the released search tree, and how they are read."""

import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

from seal_jax.rain import Settings


class Golden(NamedTuple):
    """The file's content, `RAIN_GOLDEN` names another file."""

    data: dict

    @property
    def episodes(self):
        return self.data["episodes"]


def load(shared_data):
    path = os.environ.get("RAIN_GOLDEN") or shared_data / "golden" / "rain_tree.json"
    return Golden(json.loads(pathlib.Path(path).read_text()))


def settings_of(episode, **changes):
    """The settings an episode was recorded under; its trees are small."""
    config = episode["config"]
    outer = {}
    if config["outer_loop"]:
        outer = {
            "max_searches": config["maxT"],
            "min_visits": config["minT"],
            "value_threshold": config["Vt"],
            "floor_searches": config["floor_new_searches"],
        }
    fields = {"candidates": config["k_init_one_token_level"], "nodes": 40, "widened_priors": "released"}
    return Settings(**{**fields, **outer, **changes})


def room(episodes):
    """Settings under which the largest and the deepest tree of the episodes fits."""
    searches = [search for episode in episodes for search in episode["searches"]]
    deepest = max(len(path_of(search["leaf"])) for search in searches) + 1
    most = max(len(episode["searches"]) for episode in episodes) + 1
    return {"nodes": max(most, deepest + 1), "max_depth": deepest, "max_new_tokens": 10 * deepest}


def sets(entries, field="prob"):
    """[{tokens, prob}] as [(tuple, float)]."""
    return [(tuple(entry["tokens"]), entry[field]) for entry in entries]


def path_of(name):
    """A node's path as a tuple of child indices."""
    return tuple(int(part) for part in name.split(".")) if name else ()


def embeddings_of(search):
    """The listed vectors, leaf first, as float32."""
    return [np.array(step["embedding"], np.float32) for step in search["backup"]]


def commits_before(episode, index):
    """The commits between search index - 1 and search index, the last ones for the number of searches."""
    return [c for c in episode.get("commits", []) if c["after_search"] == index - 1]


def close(actual, wanted, tolerance=2e-6):
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)
