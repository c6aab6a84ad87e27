"""`transprune doctor --model` for any configuration: how it is supported, or why it is refused."""

from __future__ import annotations

import json
import sys

import pytest
import transformers as hf

from cli.conftest import CLIP, TEXT
from transprune.families import FAMILIES, generic


@pytest.fixture(autouse=True)
def fresh_memory(monkeypatch):
    monkeypatch.setattr(generic, "_warned", set())
    list(FAMILIES)  # the registry fills itself when it is first asked


@pytest.fixture
def folder(tmp_path):
    """A folder with nothing but a config.json."""

    def make(config):
        if isinstance(config, dict):
            (tmp_path / "config.json").write_text(json.dumps(config))
        else:
            config.save_pretrained(tmp_path)
        return tmp_path

    return make


def tiny(**changes):
    text = hf.AutoConfig.for_model("llama", **TEXT)
    options = {"vision_config": CLIP, "text_config": text, "image_token_id": 4, **changes}
    return hf.LlavaConfig(vision_feature_layer=-2, **options)


def refused(cli, source):
    """The reason, from the document and from the table."""
    result = cli("doctor", "--model", source, "--json")
    assert result.code == 1
    found = json.loads(result.out)["model"]
    assert found["kind"] == "refused"

    shown = cli("doctor", "--model", source)
    assert shown.code == 1
    assert " ".join(found["reason"].split()[:6]) in " ".join(shown.out.split())
    return found["reason"]


def test_a_configuration_alone_is_enough(cli, folder):
    found = cli("doctor", "--model", folder(tiny()), "--json").data["model"]
    assert (found["kind"], found["family"], found["model_type"]) == ("listed", "llava", "llava")
    assert found["weights"] == "none in this folder"
    assert found["processor"].startswith("unusable: ")
    assert found["methods"]["transprune"] == ""
    assert found["attention_layers"] == list(range(14))


def test_an_unlisted_type_of_the_common_shape(cli, folder, monkeypatch):
    monkeypatch.delitem(FAMILIES._classes, "llava")
    source = folder(tiny())
    result = cli("doctor", "--model", source, "--json")
    found = result.data["model"]
    assert (found["kind"], found["family"], found["model_type"]) == ("generic", "generic", "llava")
    assert "nobody tested transprune with models of type 'llava'" in result.data["warnings"][0]
    assert found["methods"]["transprune"] == found["methods"]["divprune"] == ""
    assert "reads the vision tower" in found["methods"]["visionzip"]

    shown = " ".join(cli("doctor", "--model", source).out.split())
    assert "nobody tested this model type" in shown
    assert "not described: methods that read it are refused" in shown


def test_weights_of_an_unlisted_type_are_proven(cli, llava, monkeypatch):
    monkeypatch.delitem(FAMILIES._classes, "llava")
    proven = []
    plain = generic.Generic.prove

    def prove(self, model, session):
        plain(self, model, session)
        proven.append(model)

    monkeypatch.setattr(generic.Generic, "prove", prove)
    found = cli("doctor", "--model", llava, "--load", "--json").data["model"]
    assert found["weights"] == "complete"
    assert proven[0] in generic._proven


def test_an_unlisted_type_runs_with_everything_around_it(
    cli, llava, picture, monkeypatch, tmp_path
):
    monkeypatch.delitem(FAMILIES._classes, "llava")
    overlay = tmp_path / "kept.png"
    asked = ("--image", picture, "--question", "what color is the circle ?")
    method = ("--method", "fastv:layer=2,keep_ratio=0.5", "--overlay", overlay)
    result = cli("run", "--model", llava, *asked, *method)
    assert result.code == 0
    assert "nobody tested" in result.err
    suggested = cli("suggest", "--model", llava, "--budget", 41, "--json").data
    assert "vision tower" in suggested["refused"]["visionzip"]


def test_hybrid_layers_are_listed(cli, folder):
    text = {"model_type": "qwen3_5_text", **TEXT, "num_hidden_layers": 8, "head_dim": 16}
    config = hf.AutoConfig.for_model(
        "qwen3_5", text_config=text, image_token_id=5, video_token_id=6
    )
    source = folder(config)
    assert cli("doctor", "--model", source, "--json").data["model"]["attention_layers"] == [3, 7]
    shown = " ".join(cli("doctor", "--model", source).out.split())
    assert "attention in the layers 3, 7, the others are recurrent" in shown


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "llama"}, "no family lists models of type 'llama'"),
        ({"model_type": "mllama"}, "attend to the picture from outside"),
        ({"model_type": "florence2"}, "it is an encoder with a decoder"),
        ({"model_type": "fuyu"}, "self_attn.q_proj in decoder layer 0"),
    ],
    ids=["text only", "cross-attention", "encoder", "other modules"],
)
def test_other_shapes_are_refused_with_their_reason(cli, folder, config, reason):
    assert reason in refused(cli, folder(config))


def test_a_configuration_without_an_image_token(cli, folder):
    # a class whose default is none
    assert "image_token_id" in refused(cli, folder({"model_type": "minicpmv4_6"}))

    # and one that takes none but a number
    tree = {"model_type": "llava", "image_token_index": None}
    result = cli("doctor", "--model", folder(tree))
    assert result.code == 1
    assert "image_token_index" in result.err


def test_a_tower_that_no_family_knows(cli, folder):
    """Its methods are refused one by one; those that do not look at it run."""
    vision = {"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 3, "patch_size": 7}
    vision |= {"num_attention_heads": 4, "image_size": 28}
    methods = cli("doctor", "--model", folder(tiny(vision_config=vision)), "--json").data["model"][
        "methods"
    ]
    assert "needs a CLIP-like encoder; Dinov2Model is none" in methods["visionzip"]
    assert methods["divprune"] == methods["transprune"] == ""


def test_attention_that_cannot_be_read_is_said_beforehand(cli, folder):
    """A session says it when it runs; here nothing runs."""
    if "kimi_k25" not in hf.CONFIG_MAPPING:
        pytest.skip("this release of transformers has no such model")
    tried = ("fastv", "pdrop", "divprune", "uniform")
    asked = [part for name in tried for part in ("--method", name)]
    source = folder({"model_type": "kimi_k25"})
    methods = cli("doctor", "--model", source, *asked, "--json").data["model"]["methods"]
    assert "it reads attention, and" in methods["fastv"]
    assert "lacks k_proj" in methods["pdrop"]
    assert methods["divprune"] == methods["uniform"] == ""


def test_a_class_that_needs_another_package_says_so(cli, folder):
    result = cli("doctor", "--model", folder({"model_type": "fast_vlm"}))
    if result.code == 0:
        pytest.skip("timm is installed")
    assert "needs a package that is not installed" in result.err
    assert "timm" in result.err


def test_code_that_comes_with_a_checkpoint_is_not_run_and_not_asked_about(cli, folder, monkeypatch):
    questions = []
    monkeypatch.setattr("builtins.input", lambda *text: questions.append(text) or "n")
    code = {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"}
    source = folder({"model_type": "internvl_chat", "auto_map": code})
    result = cli("doctor", "--model", source)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "whose name often ends in -hf" in result.err
    assert not questions


def test_a_type_that_transformers_does_not_know(cli, folder):
    result = cli("doctor", "--model", folder({"model_type": "deepseek_vl_v2"}))
    assert result.code == 1
    assert "does not recognize this architecture" in result.err


def test_weights_of_another_model_are_noticed_without_loading(cli, nano_copy):
    found = cli("doctor", "--model", nano_copy, "--json").data["model"]
    assert "--load checks them" in found["weights"]

    tiny().save_pretrained(nano_copy)
    found = cli("doctor", "--model", nano_copy, "--json").data["model"]
    assert "of another model, it seems" in found["weights"]
    result = cli("doctor", "--model", nano_copy, "--load")
    assert result.code == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"),
        ("import a_library_that_is_not_there", "a_library_that_is_not_there"),
        ("", ""),
    ],
    ids=["another build", "half installed", "works"],
)
def test_a_torchvision_that_breaks_transformers_is_named(cli, tmp_path, monkeypatch, body, problem):
    (tmp_path / "torchvision.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    from transprune.cli.doctor_checks import _try_torchvision

    works, found = _try_torchvision()
    assert works is (problem == "")
    assert problem in found
    assert ("pip uninstall torchvision" in found) is (problem != "")


def test_a_broken_torchvision_fails_the_check(cli, monkeypatch):
    from transprune.cli import doctor_checks

    monkeypatch.setattr(doctor_checks, "_try_torchvision", lambda: (False, "cannot be imported"))
    result = cli("doctor")
    assert result.code == 1
    assert "cannot be imported" in " ".join(result.out.split())
