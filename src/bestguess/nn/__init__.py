"""One transformer, built of parts: attention, block, decoder. Layers act on one example; `vmap` outside."""
