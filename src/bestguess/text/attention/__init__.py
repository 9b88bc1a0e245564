"""What attention weights show of a text model, and what swaps in the source do: figures, a page, an experiment."""
