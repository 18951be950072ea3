"""A repository of the model hub: the commit that a name means now, its files, and what the cache has of it.

1. `look_up` asks the hub once. Where it does not answer, the cache on this machine says which commit its
   branch meant when it was fetched.
2. `cached_folder` finds a commit's files in that cache. No network is used.

The hub is that of huggingface_hub: HF_ENDPOINT names it, HF_HUB_CACHE the cache, HF_TOKEN who asks, and with
HF_HUB_OFFLINE=1 it is never asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.atomic_file import atomic_path
from pipeline.files.public_text import public_text

COMMIT = re.compile(r"[0-9a-f]{40}")
"""Form of a commit's name."""
MAIN = "main"
"""Branch that a hub id without a revision means."""

_PATIENCE_S = 10.0
"""Seconds that the hub may take to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository."""

    name: str
    """Path in the repository."""
    size: int
    """In bytes."""
    sha256: str | None = None
    """Hash of the content, of large files (LFS). None: the hub does not say it."""
    blob_id: str | None = None
    """Git's name of the content: SHA-1 of `blob SIZE\\0` and the content. Of large files it names their
    pointer, not the content.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class HubRepository:
    """What is known of a repository at one commit."""

    repo_id: str
    """owner/name."""
    asked: str | None
    """Revision that was asked for: a branch, a tag or a commit. None: the main branch."""
    commit: str | None
    """40 hexadecimal digits. None: neither hub nor cache knows."""
    files: tuple[HubFile, ...] = ()
    """All files of the commit, as the hub lists them; those in the cache where it does not answer."""
    away: str = ""
    """Why the hub did not answer. Empty: it did."""

    @property
    def folder(self) -> Path | None:
        """Folder of the commit in the cache; it may lack files. None: there is none."""
        return cached_folder(self.repo_id, self.commit)

    def here(self, name: str) -> bool:
        """Whether the cache has this file of the commit."""
        folder = self.folder
        return folder is not None and (folder / name).is_file()

    @property
    def is_pinned(self) -> bool:
        """Whether the commit itself was asked for."""
        return self.asked is not None and self.asked == self.commit


def look_up(repo_id: str, asked: str | None) -> HubRepository:
    """Find the commit that a revision means, and its files.

    Raises InputError: the hub has no such repository or revision, or does not give it to this user, and the
    cache does not have it either. A hub that does not answer is no error; see `HubRepository.away`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(repo_id, revision=asked, files_metadata=True, timeout=_PATIENCE_S)
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        cached = _from_cache(repo_id, asked, public_text(f"the hub refused: {_first_line(error)}"))
        if cached.commit is None:
            raise _refused(repo_id, asked, error) from error
        return cached
    except Exception as error:  # many types, of two libraries; each means that there is no answer
        return _from_cache(repo_id, asked, public_text(f"{type(error).__name__}: {_first_line(error)}"))
    files = tuple(
        HubFile(
            name=one.rfilename,
            size=int((one.lfs.size if one.lfs else one.size) or 0),
            sha256=one.lfs.sha256 if one.lfs else None,
            blob_id=None if one.lfs else one.blob_id,
        )
        for one in info.siblings or ()
    )
    return HubRepository(repo_id=repo_id, asked=asked, commit=str(info.sha), files=files)


def _from_cache(repo_id: str, asked: str | None, away: str) -> HubRepository:
    commit = cached_commit(repo_id, asked)
    folder = cached_folder(repo_id, commit)
    files: Sequence[HubFile] = ()
    if folder is not None:
        files = [
            HubFile(name=path.relative_to(folder).as_posix(), size=path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
    return HubRepository(repo_id=repo_id, asked=asked, commit=commit, files=tuple(files), away=away)


def cached_commit(repo_id: str, asked: str | None) -> str | None:
    """Find the commit that a revision meant when it was fetched into the cache. None: the cache has none."""
    if asked is not None and COMMIT.fullmatch(asked):
        return asked
    try:
        text = (_repository_folder(repo_id) / "refs" / (asked or MAIN)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if COMMIT.fullmatch(text) else None


def cached_folder(repo_id: str, revision: str | None) -> Path | None:
    """Find the folder of a commit, or of what a revision meant, in the cache. None: it is not there."""
    commit = cached_commit(repo_id, revision)
    if commit is None:
        return None
    folder = _repository_folder(repo_id) / "snapshots" / commit
    return folder if folder.is_dir() else None


def note_commit(repository: HubRepository) -> None:
    """Write into the cache which commit the revision means, so that it is known when the hub is away. A cache
    that may not be written to stays as it is.
    """
    asked = repository.asked or MAIN
    if repository.commit is None or repository.away or COMMIT.fullmatch(asked):
        return
    place = _repository_folder(repository.repo_id) / "refs" / asked
    with suppress(OSError), atomic_path(place) as temporary:
        temporary.write_text(repository.commit, encoding="utf-8")


def _repository_folder(repo_id: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / repository_folder_name(repo_id)


def repository_folder_name(repo_id: str) -> str:
    """Name of a repository's folder in a cache of the hub."""
    return f"models--{repo_id.replace('/', '--')}"


def _refused(repo_id: str, asked: str | None, error: Exception) -> InputError:
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return InputError(
            "the revision of a model must exist on the hub",
            came=f"{asked} of {repo_id}, which has none of that name",
            remedy="name a branch, a tag or a commit of it, or leave revision out",
        )
    if isinstance(error, GatedRepoError):
        return InputError(
            "a model of the hub must be open to you",
            came=f"{repo_id}, whose owner asks for consent first",
            remedy="agree to its terms on its page, and set HF_TOKEN to a token of yours",
        )
    return InputError(
        "a model must be a directory or a repository of the hub",
        came=f"{repo_id}, which the hub does not have, or does not show without a token",
        remedy="correct the name, or set HF_TOKEN",
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no reason given")[:200]
