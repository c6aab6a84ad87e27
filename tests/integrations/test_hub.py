"""Recipes on the hub: pushed to and fetched from a stand-in on loopback, by the real huggingface_hub."""

import json

import huggingface_hub.constants as hub_constants
import pytest
from typer.testing import CliRunner

from integrations import hub_stub
from transprune import Compose, FastV, Method, TransPrune, VisionZip
from transprune.cli import app
from transprune.errors import RecipeError
from transprune.methods.common.recipe import resolve
from transprune.methods.common.recipe_card import make_card

RECIPE = "fastv:layer=3,keep_ratio=0.25"


@pytest.fixture(scope="module")
def server():
    with hub_stub.running() as server:
        yield server


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The stand-in, known as the hub to this process."""
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub_constants, "ENDPOINT", server.address)
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", hub_stub.TOKEN)
    return server


def cli(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_pushed_fetched_and_used_as_a_method(hub):
    done = cli("push", RECIPE, "me/fast", "--model", "llava-1.5-7b", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["commit"].startswith(f"{hub.address}/me/fast/commit/")

    files = hub.repositories["me/fast"]
    assert set(files) == {"pruning_config.json", "README.md"}
    assert json.loads(files["pruning_config.json"]) == resolve(RECIPE).to_dict()
    assert files["README.md"].decode() == json.loads(done.stdout)["card"]

    assert Method.from_pretrained("me/fast") == resolve("me/fast") == FastV(3, 0.25)
    cost = cli("cost", "--method", "me/fast", "--json")
    assert "me/fast" in json.loads(cost.stdout)["methods"]


def test_pushed_again_and_from_python(hub):
    TransPrune.low().push_to_hub("me/low", private=True)
    assert hub.private["me/low"]
    address = TransPrune.low().push_to_hub("me/low", commit_message="second")
    assert address.startswith(f"{hub.address}/me/low/commit/")
    assert hub.messages[-1] == "second"


def test_without_the_right_to_write_one_line_says_so(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(RecipeError, match=r"cannot push to 'me/secret' .*hf auth login"):
        FastV().push_to_hub("me/secret")
    assert "me/secret" not in hub.repositories


def test_a_repository_that_is_not_there(hub):
    with pytest.raises(RecipeError, match="no recipe at 'me/nothing'"):
        Method.from_pretrained("me/nothing")


def test_offline_the_error_is_one_line():
    with pytest.raises(RecipeError, match=r"cannot push to 'me/x' on the hub: .*save_pretrained"):
        FastV().push_to_hub("me/x")
    with pytest.raises(RecipeError, match="no recipe at 'me/x'"):
        resolve("me/x")


def test_the_card_says_what_where_from_and_how():
    card = make_card(
        Compose([VisionZip(192), TransPrune.low()]), "me/both", "llava-hf/llava-1.5-7b-hf"
    )
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "base_model: llava-hf/llava-1.5-7b-hf" in front
    assert "library_name: transprune" in front
    for part in (VisionZip.paper, TransPrune.paper, "--method me/both", '"schema": 1', "# both"):
        assert part in body


def test_the_card_says_where_each_part_drops():
    card = make_card(Compose([VisionZip(192), TransPrune.low()]), "me/both")
    what = card[card.index("## What it prunes") : card.index("## Use")]
    assert "drops visual tokens once, in front of the language model" in what
    assert "drops visual tokens between layers of the language model" in what
    # nobody counted, so it says how to
    assert "transprune cost --model MODEL --method me/both" in card


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ("shortv", "drops no token: visual tokens skip the work of some layers"),
        ("shortv:order=llava-13b", "drops no token"),
        ("plphp", "evicts keys and values of visual tokens"),
        ("vscan", "drops visual tokens in front of the language model, and between its layers"),
    ],
)
def test_the_card_of_a_method_that_does_something_else(recipe, what):
    card = cli("push", recipe, "me/other", "--card-only").output
    assert what in card
    assert ("All 576 visual tokens stay to the end." in card) == (
        "drops no token" in what or recipe == "plphp"
    )
    assert "transprune cost --model" not in card  # the cost itself stands there


def test_the_card_of_the_command_has_the_cost():
    card = cli("push", "transprune-high", "me/high", "--card-only").output
    assert "| 7 | 504 |" in card
    assert "| 12 | 72 |" in card
    assert "1.56 T | 40.8% |" in card


def test_the_card_has_the_figures_of_the_search_that_found_it(tmp_path):
    TransPrune.high().save_pretrained(tmp_path)
    figures = {"value": 0.01234, "low": 0.01, "high": 0.02}
    row = {"name": "found", "kl": figures, "same": figures}
    (tmp_path / "tune.json").write_text(json.dumps({"held_out_figures": [row]}))
    card = cli("push", str(tmp_path), "me/found", "--card-only").output
    assert "| found | 0.0123 [0.0100, 0.0200] | 0.0 [0.0, 0.0] |" in card


@pytest.mark.slow
def test_the_card_has_the_accuracy_of_a_run(tmp_path):
    run = str(tmp_path / "run")
    bench = ("bench", "--out", run, "--n", "2", "--no-bill", "--budgets", "own", "--methods")
    assert cli(*bench, "fastv").exit_code == 0
    card = cli("push", "fastv", "me/fast", "--measured", run, "--card-only").output
    assert "## Measured on nano" in card
    assert "| 18 |" in card  # nine questions about each of two pictures

    other = cli("push", RECIPE, "me/fast", "--measured", run, "--card-only")
    assert other.exit_code == 1
    assert "--budgets own" in other.stderr
