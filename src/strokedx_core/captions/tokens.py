"""Texts to token numbers and back: byte-pair encoding trained on the texts themselves (Kudo and
Richardson, "SentencePiece: a simple and language independent subword tokenizer", EMNLP 2018).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import sentencepiece

__all__ = ["Tokenizer"]


class Tokenizer:
    """A trained tokenizer.

    Parameters
    ----------
    model : bytes
        As `train` makes it.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> Tokenizer:
        """Learn the pieces that texts are made of; what never came up is spelled in bytes.

        Parameters
        ----------
        texts : iterable of str
        vocabulary : int
            Tokens, at most; 261 of them are for bytes and for what is no text.
        """
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, vocab_size=vocabulary,
            model_type="bpe", byte_fallback=True, hard_vocab_limit=False, num_threads=1,
            normalization_rule_name="identity", pad_id=0, unk_id=1, bos_id=2, eos_id=3,
            control_symbols=["<slice>"], minloglevel=2,
        )  # fmt: skip
        return cls(model.getvalue())

    def __len__(self) -> int:
        return int(self._pieces.vocab_size())

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without begin and end."""
        return list(self._pieces.encode(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for."""
        return str(self._pieces.decode(list(tokens)))
