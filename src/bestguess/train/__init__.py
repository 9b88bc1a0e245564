"""The one training path: a batch of runs of equal shapes, compiled as one program."""
