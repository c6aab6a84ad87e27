"""A wrong input ends in one red line, exit code 1 (2 for usage), and an empty stdout."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from transprune import demo
from transprune.errors import UnknownMethod

SCENE = demo.folder() / "pictures" / "scene1.png"


@pytest.fixture
def fails(cli):
    def call(expected, *args, code=1):
        result = cli(*args)

        assert result.code == code
        assert result.out == ""

        line = " ".join(result.err.split())

        assert expected in line
        assert "Traceback" not in line

        if code == 1:
            assert line.startswith("error: ")
            assert result.err.count("\n") == 1
        return line

    return call


def run(model="nano", image=SCENE, method="fastv", question="what color is the circle?"):
    return (
        "run",
        "--model",
        model,
        "--image",
        image,
        "--method",
        method,
        "--question",
        question,
        "--json",
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fastw", "Did you mean 'fastv'?"),
        ("fastv:layr=2", "Did you mean 'layer'?"),
        ("fastv:keep_ratio=1.5", "keep_ratio"),
        ("fastv:layer", "name=value"),
        ("fastv:layer=40", "boundaries must lie in"),
        ("transprune:keep=9:0.5,12:0.9", "cannot increase"),
        ("fastv+visionzip", "projector-side methods act before"),
        ("nothing/here.json", "no recipe at"),
    ],
)
def test_methods(fails, method, expected):
    fails(expected, *run(method=method))


def test_pictures(fails, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture at all, just words" * 10)
    cut = tmp_path / "cut.png"
    cut.write_bytes(SCENE.read_bytes()[:5000])
    fails("no file", *run(image=tmp_path / "missing.png"))
    fails("is a directory", *run(image=tmp_path))
    fails("not an image", *run(image=text))
    fails("damaged or cut short", *run(image=cut))


def test_pictures_the_processor_refuses(fails, qwen, tmp_path):
    long = tmp_path / "long.png"
    Image.new("RGB", (900, 2)).save(long)
    fails("refuses these pictures (900 x 2)", *run(model=qwen, image=long))


def test_placeholder_in_the_question(fails):
    fails("2 image placeholders for 1 pictures", *run(question="what is <image>?"))


def test_a_question_that_is_no_text(fails):
    fails("no UTF-8 text", *run(question="what\udce9?"))


def test_no_model_at_all(fails):
    fails("got an empty text", *run(model=""))


@pytest.mark.parametrize("model", ["./missing", "/no/such/folder", "justaword", "a/b/c"])
def test_model_that_is_not_there(fails, model):
    fails(f"no model at '{model}'", *run(model=model))


def test_hub_id_that_cannot_be_fetched(fails):
    fails("the hub returned no such model", *run(model="nobody/nothing-of-this-name"))


def test_file_instead_of_a_folder(fails):
    fails("is a file", *run(model=SCENE))


def test_folder_without_configuration(fails, tmp_path):
    fails("has no config.json", *run(model=tmp_path))


def test_broken_configuration(fails, nano_copy):
    (nano_copy / "config.json").write_text("{ nonsense")
    fails("config.json cannot be read", *run(model=nano_copy))


def edit(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_model_type_unknown_to_transformers(fails, nano_copy):
    edit(nano_copy, model_type="brand_new_vlm")
    fails("brand_new_vlm", *run(model=nano_copy))


def test_model_type_without_a_family(fails, nano_copy):
    edit(nano_copy, model_type="clip")
    line = fails("no family lists models of type 'clip'", *run(model=nano_copy))
    assert "transprune doctor" in line


def test_no_weights(fails, nano_copy):
    (nano_copy / "model.safetensors").unlink()
    fails("the weights of", *run(model=nano_copy))


@pytest.mark.parametrize("share", [0, 0.001, 0.5])
def test_truncated_weights(fails, nano_copy, share):
    file = nano_copy / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    fails("damaged or cut short", *run(model=nano_copy))


def test_missing_weights_are_named(fails, nano_copy):
    file = nano_copy / "model.safetensors"
    weights = load_file(file)
    gone = [name for name in weights if "layers.3.self_attn.q_proj" in name]
    save_file(
        {name: value for name, value in weights.items() if name not in gone},
        file,
        metadata={"format": "pt"},
    )

    assert len(gone) >= 1

    line = fails("of the weights that its configuration defines", *run(model=nano_copy))

    assert "layers.3.self_attn.q_proj.weight" in line


def test_mismatched_weights_are_named(fails, nano_copy):
    file = nano_copy / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "layers.0.mlp.up_proj" in name)
    weights[name] = torch.zeros(5, 7)
    save_file(weights, file, metadata={"format": "pt"})
    line = fails("shapes that differ from its configuration", *run(model=nano_copy))
    assert "layers.0.mlp.up_proj.weight is (5, 7), not (384, 128)" in line


def test_unused_weights_are_a_note(cli, nano_copy):
    file = nano_copy / "model.safetensors"
    save_file({**load_file(file), "extra.weight": torch.zeros(2)}, file, metadata={"format": "pt"})
    result = cli(*run(model=nano_copy))
    assert result.code == 0
    assert "extra.weight" in result.err


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
def test_processor_that_is_incomplete(fails, nano_copy, name):
    (nano_copy / name).unlink()
    fails("error: ", *run(model=nano_copy))


def test_broken_chat_template(fails, nano_copy):
    (nano_copy / "chat_template.jinja").write_text("{% for m in %}")
    fails("chat template cannot be used", *run(model=nano_copy))


def test_flash_attention_that_is_not_installed(fails):
    fails("flash_attention_2", *run(), "--attn", "flash_attention_2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda_device(fails):
    fails("no CUDA device", *run(), "--device", "cuda")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("run", "--model", "nano"), "Missing option"),
        ((*run(question=" "),), "the question is empty"),
        ((*run(), "--dtype", "int3"), "int3"),
        ((*run(), "--max-new-tokens", "0"), "max-new-tokens"),
        ((*run(), "--overlay", "kept.txt"), "image suffix"),
        ((*run(), "--overlay", "no/such/folder/kept.png"), "no folder"),
        (("doctor", "--load"), "--model"),
        (("cost", "--visual-tokens", "0"), "visual-tokens"),
        (("demo", "--out", SCENE), "cannot write into"),
        (("prune",), "No such command"),
        (("bench", "--threads", "1000000"), "at most 1024 threads"),
        (("calibrate", "--model", "nano", "--image", SCENE, "--question", " "), "is empty"),
    ],
)
def test_usage(fails, args, expected):
    fails(expected, *args, code=2)


@pytest.mark.parametrize("switch", [{"args": ("--debug",)}, {"env": {"TRANSPRUNE_DEBUG": "1"}}])
def test_debug_raises(cli, switch):
    with pytest.raises(UnknownMethod):
        cli(*switch.get("args", ()), *run(method="fastw"), env=switch.get("env"))
