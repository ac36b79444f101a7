"""Which code made a result: a digest of the source files as they are, and the commit if it is known."""

import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("components", "study", "experiments")
COMMIT_VARIABLE = "STUDY_COMMIT"


def source_facts() -> dict[str, str]:
    """`source_digest`, and `commit`: from git, or from $STUDY_COMMIT where there is no repository (under a job)."""
    return {"source_digest": _source_digest(), "commit": os.environ.get(COMMIT_VARIABLE) or _git_commit() or "unknown"}


def _source_digest() -> str:
    """SHA-256 over the names and contents of all Python files of the packages."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _git_commit() -> str | None:
    """The checked-out commit, with "+changes" where tracked files differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
