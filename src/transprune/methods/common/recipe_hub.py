"""Put a recipe and its card into a repository on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from transprune.errors import RecipeError

if TYPE_CHECKING:
    from transprune.methods.common.recipe import Recipe

CARD_NAME = "README.md"


def upload_recipe(
    recipe: Recipe,
    repo_id: str,
    card: str,
    *,
    commit_message: str,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Make the repository if it is missing, and commit the recipe and its card to it, together.

    Args:
        recipe: the method.
        repo_id: `"user/name"`.
        card: Markdown of the card.
        commit_message, private, token, revision, create_pr: as huggingface_hub's `create_repo` and
            `upload_folder` take them.

    Returns:
        Address of the commit, or of the pull request.

    Raises:
        RecipeError: no such name, no right to write there, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="transprune")
    try:
        repository = api.create_repo(repo_id, private=private, exist_ok=True, token=token)
        with TemporaryDirectory() as folder:
            recipe.save_pretrained(folder)
            (Path(folder) / CARD_NAME).write_text(card, encoding="utf-8")
            commit = api.upload_folder(
                repo_id=repository.repo_id,
                folder_path=folder,
                commit_message=commit_message,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )
    except RecipeError:
        raise
    # refused names, missing rights, and every way in which a connection fails
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"cannot push to {repo_id!r} on the hub: {reason}. Log in with `hf auth login` or give "
            "a token that may write there; save_pretrained writes the same recipe to a folder."
        ) from error

    return str(commit.pr_url or commit.commit_url)
