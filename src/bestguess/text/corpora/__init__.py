"""Natural text: documents from files, from the Hugging Face Hub and from Python's own docstrings.

`corpus.load_corpus` is the entrance; `options.ReadingOptions` are its flags. This file imports neither, so that a
command's flags load nothing heavy.
"""
