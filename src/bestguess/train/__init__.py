"""The one training path: an ensemble of runs of equal shapes, compiled as one program."""
