"""One of two processes with 4 devices each: loads its parts of a checkpoint, fine-tunes, generates, saves.

SEAL_JAX_COORDINATOR=... SEAL_JAX_PROCESSES=2 SEAL_JAX_PROCESS=0|1 python one_of_two.py CHECKPOINT OUT
"""

import json
import pathlib
import sys

from seal_jax.runtime import distributed

distributed.initialize()  # before anything asks JAX for devices

import jax  # noqa: E402
import layouts  # noqa: E402
import numpy as np  # noqa: E402

from seal_jax import generation, models, training  # noqa: E402
from seal_jax.runtime.mesh import make_mesh, shard_leading  # noqa: E402
from seal_jax.runtime.placement import shard_adapters  # noqa: E402


def main(checkpoint: str, out: pathlib.Path) -> None:
    assert (jax.process_count(), jax.local_device_count(), jax.device_count()) == (2, 4, 8)
    given = layouts.inputs()
    found = {}
    for name in ("data", "all"):
        mesh = make_mesh(layouts.LAYOUTS[name])
        params = models.unroll(models.from_pretrained(checkpoint, mesh=mesh).params)
        many = shard_adapters(given.many, mesh, layouts.CONFIG)
        batches = shard_leading(given.batches, mesh)
        trained, metrics = training.finetune_batch(params, layouts.CONFIG, many, batches, layouts.HYPER)
        prompts = [list(range(1 + i, 6 + i)) for i in range(8)]
        written = generation.generate(params, layouts.CONFIG, prompts, None, max_new_tokens=6, eos=())
        found[name] = {"losses": distributed.host(metrics["loss"]).tolist(), "tokens": written.tokens}
        some = distributed.host(trained["layers/mlp/up_proj/kernel"]["b"])
        found[name]["adapter"] = float(np.abs(some).sum())
    models.save_pretrained(out / "saved", layouts.CONFIG, params)
    (out / f"{jax.process_index()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
