"""Settings: the environment (``CDC_*``) over a TOML file over defaults.

    settings = load(config_path)

model.py      the keys, one declaration each: type, range, default, description
kinds.py      kinds of values: networks, schedules, addresses
load.py       reads file and environment; errors name the key
example.py    the commented default file
reference.py  explains the keys: `cdc config show`, the table in the docs
"""

from cdc.settings.example import default_file
from cdc.settings.kinds import LeftOut
from cdc.settings.load import load
from cdc.settings.model import Settings
from cdc.settings.reference import SettingKey, Value, describe, redact_dsn, secrets_in_file, values

__all__ = [
    "LeftOut",
    "SettingKey",
    "Settings",
    "Value",
    "default_file",
    "describe",
    "load",
    "redact_dsn",
    "secrets_in_file",
    "values",
]
