"""The simple path, to read from end to end: node, tensor, layers, optim, gpt. NumPy alone; nothing is made fast."""
