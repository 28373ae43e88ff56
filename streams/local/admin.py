"""Who may alter tables: the admin of a run of `cx up` in this folder, or whoever settings name."""

import dataclasses
from pathlib import Path

from streams.local.beside import in_use
from streams.local.clickhouse_config import Credentials
from streams.settings import Settings
from streams.storage.connection import Address, address_of
from streams.storage.grants import ADMIN, WRITER


def admin_of(settings: Settings) -> Address:
    """Return how to reach the store as whoever may alter tables: the admin of a run of this folder, or as is set."""
    address, folder = address_of(settings), Path(settings.data_dir)
    if address.user == WRITER and in_use(folder) and (folder / "clickhouse" / "credentials.json").is_file():
        admin = Credentials.of_directory(folder / "clickhouse").admin
        return dataclasses.replace(address, user=ADMIN, password=admin)
    return address
