"""Vocabulary transfer: SALT, its peers and our own."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingraft.vocabulary.transfer import TransferResult, transfer_vocabulary

__all__ = ["TransferResult", "transfer_vocabulary"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: torch and transformers take seconds."""
    if name in __all__:
        from lingraft.vocabulary import transfer

        return getattr(transfer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
