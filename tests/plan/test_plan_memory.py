"""The verdict from what the compiler says."""

import pytest

from seal_jax.plan.memory import Refusal, refusal

EARLY = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (23.32G) exceeds "
    "available HBM (15.75G)."
)
LATE = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 16.33G of 15.75G "
    "hbm. Exceeded hbm capacity by 594.11M.\n\nTotal hbm usage >= 16.58G:\n    reserved        258.00M"
)


@pytest.mark.parametrize(
    ("message", "needed", "available"),
    [
        (EARLY, 23.32, 15.75),
        (EARLY.replace("23.32G", "2.00T"), 2048, 15.75),
        (LATE, 16.33, 15.75),
    ],
)
def test_refusals(message, needed, available):
    assert refusal(message) == Refusal(round(needed * 2**30), round(available * 2**30))


@pytest.mark.parametrize("message", ["INVALID_ARGUMENT: a bad program", "RESOURCE_EXHAUSTED: vmem of 16M", ""])
def test_other_errors_are_no_verdict(message):
    assert refusal(message) is None
