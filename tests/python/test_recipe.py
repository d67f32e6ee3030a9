"""Recipes: what they become, and that every mistake is named with its place."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

import lowp
from lowp.train import recipe

GOOD = """\
[model]
name = "resnet"
depth = 18
widths = [16, 32]

[data]
name = "fashion_mnist"
folder = "images"

[train]
epochs = 3
batch_size = 64
precision = "bf16"

[optimizer]
name = "sgd"
lr = 1            # an integer is a number
momentum = 0.9

[schedule]
name = "warmup_cosine"
warmup = 10

[qat]
activation_bits = 7
"""


def test_a_recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(GOOD)
    made = recipe.load(path)
    assert made.model == recipe.Model("resnet", {"depth": 18, "widths": [16, 32]})
    assert made.data.folder == tmp_path / "images" and made.train.folder == tmp_path / "run"
    assert (made.train.epochs, made.train.steps, made.train.precision) == (3, None, "bf16")
    assert made.optimizer.lr == 1.0 and isinstance(made.optimizer.lr, float)
    assert made.optimizer.betas == (0.9, 0.999)
    assert made.qat == recipe.Qat(activation_bits=7)
    assert made.compile is None and made.early_stopping is None and made.log == recipe.Log()
    factor = made.schedule.build(110)
    assert factor(0) == 0.1 and factor(10) == 1 and factor(60) == pytest.approx(0.5) and factor(110) == pytest.approx(0)
    with pytest.raises(AttributeError):
        made.train.epochs = 4


def test_overrides(tmp_path):
    sets = [
        "train.epochs=5",
        "optimizer.betas=[0.8, 0.9]",
        "model.name=bert",
        "compile.precision=int8",
        'compile.keep_fp32=["head", "stem"]',
        'mixed_precision.deny=["Tanh", "Softmax"]',
        "train.folder=x=y",
    ]
    made = recipe.parse(GOOD, tmp_path / "r.toml", sets)
    assert (made.train.epochs, made.optimizer.betas, made.model.name) == (5, (0.8, 0.9), "bert")
    assert made.mixed_precision == recipe.MixedPrecision(deny=["Tanh", "Softmax"])
    assert made.compile.precision == "int8" and made.compile.keep_fp32 == ["head", "stem"]
    assert made.train.folder == tmp_path / "x=y"
    for bad, message in (
        ("epochs=3", "--set epochs=3: section.key=value is wanted"),
        ("train.epochs", "section.key=value"),
        ("train.epochs=many", '--set train.epochs=many: train.epochs is "many"; an integer is wanted'),
        ("trian.epochs=3", "--set trian.epochs=3: trian is no section; did you mean 'train'"),
        ("train.epoch=3", "--set train.epoch=3: train.epoch is not known; did you mean 'epochs'"),
    ):
        with pytest.raises(lowp.InvalidArgument, match=re.escape(message)):
            recipe.parse(GOOD, overrides=[bad])


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("momentum = 0.9", "momentun = 0.9", "line 18: optimizer.momentun is not known; did you mean 'momentum'?"),
        ("momentum = 0.9", "momentum = 1.5", "line 18: optimizer.momentum is 1.5; less than 1 is wanted"),
        ("momentum = 0.9", "momentum = nan", "optimizer.momentum is nan; at least 0 is wanted"),
        ("momentum = 0.9", 'momentum = "0.9"', 'line 18: optimizer.momentum is "0.9"; a number is wanted'),
        ("momentum = 0.9", "momentum = true", "optimizer.momentum is true; a number is wanted"),
        ("momentum = 0.9", "nesterov = 1", "optimizer.nesterov is 1; true or false is wanted"),
        ("momentum = 0.9", "betas = [0.9]", "optimizer.betas is [0.9]; a list of 2 numbers is wanted"),
        ("momentum = 0.9", "betas = [0.9, 1.0]", "optimizer.betas is 1.0; less than 1 is wanted"),
        ("lr = 1 ", "lr = 0 ", "line 17: optimizer.lr is 0.0; more than 0 is wanted"),
        ("lr = 1 ", "# ", "line 15: optimizer lacks 'lr': a number is wanted"),
        (
            '"sgd"',
            '"sdg"',
            "line 16: optimizer.name is \"sdg\"; one of sgd, adam, adamw, lamb is wanted; did you mean 'sgd'?",
        ),
        ("epochs = 3", "epochs = 3.5", "line 11: train.epochs is 3.5; an integer is wanted"),
        ("epochs = 3", "epochs = 0", "line 11: train.epochs is 0; at least 1 is wanted"),
        ("epochs = 3", "", "line 10: train has neither epochs nor steps"),
        ("[qat]", '[mixed_precision]\ndeny = "Tanh"\n[qat]', 'deny is "Tanh"; a list of strings is wanted'),
        ("[qat]", "[mixed_precision]\ndeny = [1]\n[qat]", "line 25: mixed_precision.deny is [1]; a list of strings"),
        (
            "[qat]",
            '[mixed_precision]\ndeny = ["Tahn"]\n[qat]',
            "line 24: mixed_precision cannot be: 'deny' has \"Tahn\"",
        ),
        ("[qat]", "[mixed_precision]\nloss_scale = 0\n[qat]", "loss_scale is 0.0; more than 0 is wanted"),
        ("activation_bits = 7", "activation_bits = 6", "qat.activation_bits is 6; one of 7, 8 is wanted"),
        ("activation_bits = 7", "activation_bits = true", "qat.activation_bits is true; one of 7, 8 is wanted"),
        ('folder = "images"', "folder = 3", "data.folder is 3; a path is wanted"),
        ('"fashion_mnist"', '"multi30k"\nsamples = 0', "data.samples is 0; at least 1 is wanted"),
        ('folder = "images"', "[data.x]\ny = 1", "data.x is not known"),
        ("[qat]", "[quantize]", "line 24: quantize is no section; known are model, data"),
        ("warmup = 10", "", "schedule.name is warmup_cosine, which needs schedule.warmup, 1 or more"),
        (
            '"warmup_cosine"',
            '"cosine"',
            "line 22: schedule.warmup is 10, which 'cosine' does not use; 'warmup_cosine' would",
        ),
        ('"warmup_cosine"', '"noam"', "schedule.name is noam, which needs schedule.width"),
        ("[qat]", "log = 3\n[qat]", "schedule.log is not known"),
        ("[model]", "log = 3\n[model]", "line 1: log is 3; a table is wanted: [log]"),
        ('name = "resnet"', "", "line 1: model lacks 'name': a string is wanted"),
        ("[model]", "[model", "no TOML: Expected ']'"),
    ],
)
def test_mistakes(old, new, message):
    assert old in GOOD
    with pytest.raises(lowp.InvalidArgument, match=re.escape(message)):
        recipe.parse(GOOD.replace(old, new, 1))


def test_data_that_need_a_place():
    with pytest.raises(lowp.InvalidArgument, match="data.name is squad, which needs data.file"):
        recipe.parse(GOOD.replace("fashion_mnist", "squad"))
    with pytest.raises(lowp.NotFound, match="recipe 'none.toml' does not exist"):
        recipe.load("none.toml")


def test_options_of_a_model():
    made = recipe.parse(GOOD)
    assert made.check_options({"depth": int, "widths": list}) == {"depth": 18, "widths": [16, 32]}
    with pytest.raises(
        lowp.InvalidArgument, match="line 3: model.depth is no option of 'resnet'; did you mean 'dept'?"
    ):
        made.check_options({"dept": int, "widths": list})
    with pytest.raises(lowp.InvalidArgument, match="line 3: model.depth is 18; a string is wanted"):
        made.check_options({"depth": str, "widths": list})


def test_the_digest_is_of_what_decides_the_result(tmp_path):
    digest = recipe.parse(GOOD, tmp_path / "r.toml").digest
    for same in (
        "train.threads=2",
        "log.every=3",
        "train.folder=elsewhere",
        "train.keep=1",
        "optimizer.eps=1e-8",
        "compile.precision=fp16",
        "compile.observer=minmax",
        'compile.keep_fp32=["head"]',
        "compile.min_output_snr=36",
    ):
        assert recipe.parse(GOOD, tmp_path / "r.toml", [same]).digest == digest
    assert recipe.parse(GOOD, Path("/somewhere/else.toml")).digest == digest
    for other in (
        "train.seed=2",
        "optimizer.lr=0.5",
        "model.depth=34",
        "data.folder=other",
        "mixed_precision.loss_scale=8",
    ):
        assert recipe.parse(GOOD, tmp_path / "r.toml", [other]).digest != digest


def test_every_key_and_default_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    section, documented = "", {}
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 4 and "`" in cells[1]:
            section = cells[0].strip("`[]") or section
            documented |= {(section, key): cells[3] for key in re.findall(r"`(\w+)`", cells[1])}
    known = {(name, f.name) for name, (kind, _) in recipe._SECTIONS.items() for f in fields(kind) if name != "model"}
    assert documented.keys() == known
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    assert recipe.parse(example).model.options == {"depth": 18}


def test_dotted_keys_have_lines():
    text = 'model.name = "m"\ndata.name = "fashion_mnist"\ntrain.steps = -1\noptimizer = {name = "sgd", lr = 1.0}\n'
    with pytest.raises(lowp.InvalidArgument, match="line 3: train.steps is -1"):
        recipe.parse(text)
