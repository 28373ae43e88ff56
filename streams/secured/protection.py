"""What takes personal data out of records, as the settings say: its keys are in a file, never in a setting."""

import os
import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from streams.privacy.finding import Names
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection
from streams.settings import ConfigError, Settings

KEY_FILE: Final = "privacy.key"
_FEWEST_CHARACTERS: Final = 32
_OTHERS: Final = stat.S_IRWXO
_SECRETS_OF_CONTAINERS: Final = Path("/run/secrets")
"""Where a container finds its secrets, with the modes that they have outside; it has no other users."""


def protection_of(settings: Settings, *, make: bool = True) -> Protection | None:
    """
    Return what takes personal data out of records; None if it is switched off.

    Without a file of keys in the settings, there is one in the data folder. If that is absent it is made, or, where
    others make it, None is returned: workers protect what comes.

    Raises:
        ConfigError: The file of keys or names cannot be used; the text names setting and file.
    """
    absent = not settings.privacy_key_file and not own_key_file(settings).exists()
    if settings.privacy == "off" or (absent and not make):
        return None
    return Protection(
        pseudonyms_of(settings),
        names=Names(_names(settings)),
        subjects=settings.privacy_subjects,
        people=[name for name in map(str.strip, settings.privacy_fields.split(",")) if name],
    )


def recognition_of(settings: Settings) -> Protection:
    """
    Return what finds what is masked, without the key of anybody's pseudonyms; also where masking is switched off.

    Raises:
        ConfigError: The file of names cannot be used.
    """
    return Protection(Pseudonyms([SecretKey(secrets.token_bytes())]), names=Names(_names(settings)))


def pseudonyms_of(settings: Settings, *, make: bool = True) -> Pseudonyms:
    """
    Return what gives pseudonyms.

    Raises:
        ConfigError: The file of keys cannot be used; or there is none, and none is to be made.
    """
    if not make and not settings.privacy_key_file and not own_key_file(settings).exists():
        raise ConfigError(
            f"privacy_key_file: there is no key at {str(own_key_file(settings))!r}; name the file that the workers use"
        )
    path = Path(settings.privacy_key_file) if settings.privacy_key_file else _made(own_key_file(settings))
    return Pseudonyms(
        _keys(path),
        fold_local_part=not settings.privacy_address_case,
    )


def own_key_file(settings: Settings) -> Path:
    """Return where keys are that no setting names."""
    return Path(settings.data_dir) / "secrets" / KEY_FILE


def _made(path: Path) -> Path:
    if path.exists():
        return path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    except FileExistsError:
        return path  # another process was faster
    except OSError as exc:
        raise ConfigError(
            f"privacy_key_file: cannot make {str(path)!r}: {exc.strerror}; name a file with a key of"
            f" {_FEWEST_CHARACTERS} characters or more, the same for all workers"
        ) from exc
    return path


def _keys(path: Path) -> list[SecretKey]:
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigError(f"privacy_key_file: cannot read {str(path)!r}: {said}") from exc
    if mode & _OTHERS and _SECRETS_OF_CONTAINERS not in path.resolve().parents:
        raise ConfigError(
            f"privacy_key_file: {str(path)!r} can be read or changed by everybody (mode {stat.S_IMODE(mode):o});"
            " expected 600 or 640"
        )
    keys = [
        _key(line, f"privacy_key_file: {str(path)!r}, line {number}")
        for number, line in enumerate(map(str.strip, lines), 1)
        if line and not line.startswith("#")
    ]
    if not keys:
        raise ConfigError(f"privacy_key_file: {str(path)!r} holds no key")
    if len({key.since for key in keys}) < len(keys):
        raise ConfigError(f"privacy_key_file: {str(path)!r}: two keys begin at the same time")
    return keys


def _key(line: str, where: str) -> SecretKey:
    since, _, secret = line.rpartition(" ")
    if len(secret) < _FEWEST_CHARACTERS:
        raise ConfigError(
            f"{where}: the key has {len(secret)} characters, expected {_FEWEST_CHARACTERS} or more, such as"
            " `openssl rand -hex 32` gives"
        )
    try:
        at = datetime.fromisoformat(since.strip()) if since else None
    except ValueError:
        raise ConfigError(f"{where}: expected the time from which the key is used, RFC 3339, before the key") from None
    return SecretKey(secret.encode(), at.replace(tzinfo=at.tzinfo or UTC).timestamp() if at else float("-inf"))


def _names(settings: Settings) -> list[str]:
    path = settings.privacy_names_file
    if not path:
        return []
    try:
        return [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigError(f"privacy_names_file: cannot read {path!r}: {said}") from exc
