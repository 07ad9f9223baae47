"""From labeled structures to a checkpoint."""

from symgnn import operators as operators  # models run on them
