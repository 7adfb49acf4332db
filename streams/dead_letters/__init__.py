"""Dead letters: records that can never be processed, with their original bytes and why; and their way back."""

from streams.dead_letters.headers import PREFIX, dead_letter_headers, own_headers, read_dead_letter

__all__ = ["PREFIX", "dead_letter_headers", "own_headers", "read_dead_letter"]
