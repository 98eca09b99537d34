"""Configuration: one model, every key with its default and one sentence.

`load(path)` reads TOML, lets the environment override (`POSTHOUSE_SECTION__KEY`), and refuses an unknown key or
a wrong type with `ConfigError`, whose text is one clear line a mistake. A field's description is the manual:
`config.example.toml` is written from it (`example()`), and a test holds the two together. What a value needs of
the machine (ports, files) is checked by `posthouse check-config`, not here.
"""

from relay.base.config.example import example
from relay.base.config.load import ConfigError, load
from relay.base.config.model import Config, Tier

__all__ = ["Config", "ConfigError", "Tier", "example", "load"]
