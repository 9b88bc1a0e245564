"""A NumPy-only autograd engine and GPT: small enough to read in an afternoon, exact, and fast.

Read in this order: `node` (an array that remembers), `ops` (tensors and operations, each beside its
derivative), `primitive` and `fused` (the same layers twice), `nn`, `optim`, `gpt`, `generate`.
The engine imports NumPy and nothing else; it never imports JAX.
"""
