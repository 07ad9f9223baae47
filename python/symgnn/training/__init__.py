"""From labeled structures to a checkpoint."""

from .. import operators as operators  # models run on them
