"""`transprune push`: a recipe on the Hugging Face hub, with a card that has its costs and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.console import print_json, show
from transprune.cli.cost import DEFAULT_MODEL, find_geometry
from transprune.cli.options import MODEL_HELP, Json
from transprune.cli.push_card import cost_section, measured_section, tuned_section

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A name, preset, recipe or recipe file.")
]
Repository = Annotated[
    str, typer.Argument(metavar="REPOSITORY", help="user/name on the hub; made if missing.")
]
MadeFor = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP}; also a known name, or a config.json file. The one the recipe was "
        f"made for; default: any, with the cost of {DEFAULT_MODEL}.",
    ),
]
Measured = Annotated[
    Path | None,
    typer.Option(
        "--measured",
        metavar="FOLDER",
        help="A run of transprune bench that has this recipe; its accuracy goes on the card.",
    ),
]
Message = Annotated[str, typer.Option("--message", metavar="WORDS", help="Message of the commit.")]
Private = Annotated[
    bool, typer.Option("--private", help="Make the repository private, if it is made.")
]
CreatePr = Annotated[
    bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")
]
CardOnly = Annotated[bool, typer.Option("--card-only", help="Print the card, and upload nothing.")]


def push_command(
    recipe: RecipeName,
    repository: Repository,
    model: MadeFor = None,
    measured: Measured = None,
    message: Message = "Upload a pruning recipe",
    private: Private = False,
    create_pr: CreatePr = False,
    card_only: CardOnly = False,
    as_json: Json = False,
) -> None:
    """Upload a recipe to the Hugging Face hub, with a card.

    The card says what is pruned, what it costs and what was measured. The token is that of `hf auth
    login`, or HF_TOKEN. Afterwards --method user/name runs the recipe anywhere.
    """
    from transprune.methods.common.recipe import resolve
    from transprune.methods.common.recipe_card import make_card

    method = resolve(recipe)
    sections = [cost_section(find_geometry(model or DEFAULT_MODEL), method)]
    sections += tuned_section(Path(recipe))
    if measured is not None:
        sections.append(measured_section(measured, method))

    # a card may name repositories of the hub only, and no folder of this machine
    base_model = model if model is not None and model.count("/") == 1 else None
    card = make_card(method, repository, base_model, sections)
    if card_only:
        print_json({"card": card}) if as_json else typer.echo(card)
        return

    address = method.push_to_hub(
        repository,
        card=card,
        commit_message=message,
        private=private or None,
        create_pr=create_pr,
    )

    if as_json:
        print_json({"commit": address, "repository": repository, "card": card})
        return

    show(f"pushed {method!r}", f"commit: {address}", "", f"run it with --method {repository}")
