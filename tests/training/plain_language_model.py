"""A stacked LSTM language model in plain torch: small, and independent of the library's own."""

from torch import nn


class PlainLanguageModel(nn.Module):
    """Tokens (T, B) and a state to logits (T, B, V) and the next; names as in the library."""

    def __init__(self, vocabulary_size, size, *, num_layers=2, dropout=0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Embedding(vocabulary_size, size)
        self.recurrent = nn.LSTM(size, size, num_layers, dropout=dropout)
        self.decoder = nn.Linear(size, vocabulary_size)

    def forward(self, tokens, state=None):
        output, state = self.recurrent(self.dropout(self.embedding(tokens)), state)
        return self.decoder(self.dropout(output)), state
