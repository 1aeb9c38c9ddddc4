"""Text to batches: folders and generated sources become a `Corpus`, a corpus becomes windows.

Beside text there are labelled images, `Images`, for networks that read them row by row.
"""

from lsh_native.data.batches import (
    IGNORED,
    Window,
    columns,
    evaluation_columns,
    random_windows,
    windows,
)
from lsh_native.data.corpus import Corpus
from lsh_native.data.folder import CorpusError, read_corpus
from lsh_native.data.generated import agreement_source, generate_corpus
from lsh_native.data.images import IdxError, Images, digits, image_batches, read_idx, read_images
from lsh_native.data.levels import BYTES, CHARACTERS, LEVELS, WORDS, Level, level_of
from lsh_native.data.published import PUBLISHED, PublishedCorpus
from lsh_native.data.source import WordSource
from lsh_native.data.vocabulary import UnknownTokenError, Vocabulary

__all__ = [
    "BYTES",
    "CHARACTERS",
    "IGNORED",
    "LEVELS",
    "PUBLISHED",
    "WORDS",
    "Corpus",
    "CorpusError",
    "IdxError",
    "Images",
    "Level",
    "PublishedCorpus",
    "UnknownTokenError",
    "Vocabulary",
    "Window",
    "WordSource",
    "agreement_source",
    "columns",
    "digits",
    "evaluation_columns",
    "generate_corpus",
    "image_batches",
    "level_of",
    "random_windows",
    "read_corpus",
    "read_idx",
    "read_images",
    "windows",
]
