"""Files of uint16 values: sources whose floor is known, and evidence on whether a file can be predicted.

`file` reads a file of any size in bounded memory. `sources` generates values whose best prediction is known.
`evidence` tests whether the order of the values helps to predict them, at a controlled false-alarm rate.
"""
