"""The commands of the scratch room: each runs, shows what came out, and returns one dictionary."""
