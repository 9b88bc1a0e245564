"""A NumPy-only autograd engine and GPT: short enough to read in an afternoon, exact, and then made fast.

`engine` is the simple path, 600 lines to read from end to end; `fast` replaces its operations one by one. `check`
proves the gradients of both, `bugs` is a zoo to find, `graph` and `drawing` show what is computed, `demos` and
`commands` train.
"""
