"""The models of the loss curves are what PyTorch's losses were made of, and those losses are worth comparing with."""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

TRAIN = Path(__file__).parents[1] / "train"
sys.path.insert(0, str(TRAIN))

import loss_models as lm  # noqa: E402


@pytest.mark.parametrize("name", lm.MODELS)
def test_losses(name):
    model = lm.MODELS[name]
    made = json.loads((TRAIN / "losses" / f"{name}.json").read_text())
    losses, exact = np.array(made["losses"]), np.array(made["losses_float64"])
    assert losses.shape == exact.shape == (lm.STEPS,) and np.isfinite(losses).all()
    # A tenth of what lowp's curve may be off: rounding alone does not use the tolerance up.
    assert np.abs(losses / exact - 1).max() < 1e-5
    assert losses[-8:].mean() < losses[:8].mean() - 0.05
    assert sum(w.size for w in model.weights().values()) == made["parameters"]


# CRC-32 of all weights and all batches: what the committed losses belong to.
DIGESTS = {"resnet": 171100069, "bert": 3646919695, "gnmt": 2985085100, "neumf": 2822685100}


@pytest.mark.parametrize("name", lm.MODELS)
def test_weights_and_batches_are_those_of_the_losses(name):
    model, digest = lm.MODELS[name], 0
    for part in (model.weights(), *(model.batch(step) for step in range(lm.BATCHES))):
        for key, array in part.items():
            digest = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(key.encode(), digest))
    assert digest == DIGESTS[name]
    for key, array in model.batch(3).items():
        np.testing.assert_array_equal(array, model.batch(3 + lm.BATCHES)[key])
