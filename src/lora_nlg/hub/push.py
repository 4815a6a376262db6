"""Upload a folder to the Hugging Face hub, or to what HF_ENDPOINT names."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from lora_nlg.errors import InputError, first_line


def check_push(repository: str) -> None:
    """Before any work: whether there can be an upload.

    Raises:
        InputError: the repository has no name the Hub takes, or nobody is logged in.
    """
    if repository.count("/") != 1:
        raise InputError(f"`push` must be ORG/NAME, got {repository!r}")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"`push` {repository}: {first_line(error)}") from None
    if not get_token():
        raise InputError(
            f"`push` {repository} needs a token of the Hub: log in with `hf auth login`, or set HF_TOKEN to one that "
            "may write"
        )


def push_folder(folder: str | Path, repository: str, files: list[str]) -> str:
    """Make the repository if it isn't there, and commit the files to it.

    Args:
        folder: where they are.
        repository: ORG/NAME.
        files: by name; nothing else of the folder is uploaded.

    Returns:
        Where to see the commit.

    Raises:
        InputError: the Hub can't be reached or refuses.
    """
    hub = HfApi()
    try:
        hub.create_repo(repository, repo_type="model", exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=files, commit_message="Upload by lora-nlg"
        )
    except Exception as error:  # its client raises those of its HTTP library too, another in each major version
        hint = "; may the token write there?" if _status(error) in (401, 403) else ""
        raise InputError(f"{hub.endpoint} didn't take {repository}: {first_line(error)}{hint}") from error
    return str(commit.commit_url)


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None
