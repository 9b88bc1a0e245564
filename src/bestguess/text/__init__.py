"""Text: pairs of a source and a target, read by an encoder-decoder or as one sequence."""

from typing import TYPE_CHECKING, Any

__all__ = ["ReferenceDecoderOnly", "ReferenceTransformer"]

if TYPE_CHECKING:
    from bestguess.text.reference import ReferenceDecoderOnly, ReferenceTransformer


def __getattr__(name: str) -> Any:
    # Imported at the first use: the command line reads this package's config without JAX.
    if name in __all__:
        from bestguess.text import reference

        return getattr(reference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
