"""The same bits on every target and for any number of threads."""

import os

import command
import numpy as np
import pytest


@pytest.fixture(scope="module")
def targets():
    return [t["name"] for t in command.ok_json("doctor")["targets"]]


def differing(engine, inputs, targets, threads, folder):
    """The outputs, and the (target, threads) whose files differ from the first's."""
    want, differ = None, []
    for target in targets:
        for n in threads:
            output = folder / f"{target}-{n}.npz"
            command.ok("run", engine, "--input", inputs, "--output", output, "--threads", n, isa=target, timeout=900)
            with np.load(output) as arrays:
                have = {k: (arrays[k].shape, arrays[k].dtype, arrays[k].tobytes()) for k in arrays.files}
            want = want or have
            if have != want:
                differ.append((target, n))
    return want, differ


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8 vnni", "int8 avx2"])
@pytest.mark.parametrize("network", ["mobile", "transformer"])
def test_small_models(network, precision, targets, request, tmp_path):
    files = request.getfixturevalue(network)
    precision, *target = precision.split()
    options = ["--no-measure", "--calibrate", files.input, "--target", *target] if target else []
    engine = tmp_path / "m.lowp"
    report = command.ok_json("compile", files.onnx, "-o", engine, "--precision", precision, *options)
    executed = {layer["executed"] for layer in report["layers"]}
    assert {"fp32": "f32", "fp16": "f16", "int8": "i8"}[precision] in executed
    every = list(dict.fromkeys(["scalar", "emu512", "emu_amx", "avx2", *targets]))
    outputs, differ = differing(engine, files.input, every, [1, 2], tmp_path)
    assert outputs and not differ


@pytest.mark.parametrize("network", ["mobile", "transformer"])
def test_bf16_has_three_classes(network, targets, request, tmp_path):
    """Targets with a BF16 dot product, real or emulated, agree; so do those with tiles, and those that use FP32."""
    files = request.getfixturevalue(network)
    engine = tmp_path / "m.lowp"
    report = command.ok_json("compile", files.onnx, "-o", engine, "--precision", "bf16")
    assert "bf16" in {layer["executed"] for layer in report["layers"]}
    pairs = [t for t in targets if t in ("emu512", "avx512_bf16")]
    tiles = [t for t in targets if t in ("emu_amx", "avx512_amx")]
    for group in (pairs, tiles, [t for t in targets if t not in pairs + tiles]):
        outputs, differ = differing(engine, files.input, group, [1, 2], tmp_path)
        assert outputs and not differ


def zoo_inputs(network, seed):
    rng = np.random.default_rng(seed)
    if network in ("efficientnet_lite0", "resnet50"):
        return {"x": rng.uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)}
    shape = 1, 16
    vocabulary = 30000
    return {
        "input_ids": rng.integers(0, vocabulary, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }


@pytest.mark.skipif(not os.environ.get("LOWP_SLOW"), reason="minutes: LOWP_SLOW=1 runs it")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("network", ["efficientnet_lite0", "minilm", "resnet50", "bert_base"])
def test_zoo(network, precision, targets, tmp_path):
    lowp = pytest.importorskip("lowp")
    zoo = pytest.importorskip("lowp.zoo")
    try:
        model = getattr(zoo, network)()
    except lowp.Error as e:
        pytest.skip(f"the model's package is not to be had: {e}")
    names = {i.name for i in lowp.load(model).inputs}
    calibration = tmp_path / "samples"
    calibration.mkdir()
    for i in range(2):
        given = {k: v for k, v in zoo_inputs(network, i).items() if k in names}
        np.savez(calibration / f"{i}.npz", **given)
    options = ["--no-measure", "--calibrate", calibration] if precision == "int8" else []
    engine = tmp_path / "m.lowp"
    command.ok("compile", model, "-o", engine, "--precision", precision, *options, timeout=1800)
    # In plain C++ without vectors the larger two take minutes.
    scalar = network in ("efficientnet_lite0", "minilm")
    tried = [t for t in targets if scalar or t != "scalar"]
    outputs, differ = differing(engine, calibration / "0.npz", tried, [1, 2], tmp_path)
    assert outputs and not differ
