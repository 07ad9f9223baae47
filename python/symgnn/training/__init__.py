"""From labeled structures to a checkpoint."""
