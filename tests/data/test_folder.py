"""Reading a folder: conventions, published counts, and one clear line for each bad input."""

import gzip
from pathlib import Path

import pytest
import torch

from lsh_native.data import (
    BYTES,
    CHARACTERS,
    LEVELS,
    PUBLISHED,
    CorpusError,
    UnknownTokenError,
    Vocabulary,
    read_corpus,
)
from lsh_native.data.published import recognise

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "toy", train="a b\n\nb c", valid="c a\n", test="b\n")


def write(folder, pattern="{split}.txt", **texts):
    folder.mkdir(exist_ok=True)
    for split, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode()
        path = folder / pattern.format(split=split)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return folder


def test_words(folder):
    corpus = read_corpus(folder)
    assert corpus.vocabulary.tokens == ("a", "b", "<eos>", "c")
    assert corpus.train.tolist() == [0, 1, 2, 2, 1, 3, 2]
    assert corpus.valid.tolist() == [3, 0, 2]
    assert corpus.test.tolist() == [1, 2]
    assert corpus.name == "toy"
    assert corpus.level.name == "word"
    assert corpus.entropy is None


def test_characters(tmp_path):
    write(tmp_path, train="né\nn", valid="é\n", test="nn")
    corpus = read_corpus(tmp_path, level=CHARACTERS)
    assert corpus.vocabulary.tokens == ("n", "é", "\n")
    assert corpus.train.tolist() == [0, 1, 2, 0]


def test_bytes(tmp_path):
    write(tmp_path, train=b"\x00\xff\n\xfe", valid="é\n", test=b"\r\n")
    corpus = read_corpus(tmp_path, level=BYTES)
    assert len(corpus.vocabulary) == 256
    assert corpus.train.tolist() == [0, 255, 10, 254]
    assert corpus.valid.tolist() == [*"é\n".encode()]


def test_levels_by_name():
    assert list(LEVELS) == ["word", "character", "byte"]
    assert all(level.name == name for name, level in LEVELS.items())


@pytest.mark.parametrize("pattern", ["{split}.txt.gz", "{split}.txt"])
def test_compressed_or_plain_is_the_same(folder, tmp_path, pattern):
    texts = {split: (folder / f"{split}.txt").read_bytes() for split in ("train", "valid", "test")}
    other = write(tmp_path / "other", pattern, **texts)
    assert read_corpus(other).hash == read_corpus(folder).hash


def test_lines_end_at_line_feed_only(tmp_path):
    write(tmp_path, train="a\u2028b\x0bc\rd\x85e\n", valid="a\r\n", test="b\n")
    assert read_corpus(tmp_path).train.tolist() == [0, 1, 2, 3, 4, 5]
    assert read_corpus(tmp_path).vocabulary.tokens[-1] == "<eos>"


def test_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    write(tmp_path, train="\ufeffa b", valid="a b", test="\ufeffa b")
    assert read_corpus(tmp_path).vocabulary.tokens == ("a", "b", "<eos>")


def test_limit_shortens_the_text_and_keeps_the_vocabulary(tmp_path):
    words = " ".join(f"w{i}" for i in range(100))
    write(tmp_path, train=words, valid="w99 w98 w97 w96", test="w1\n")
    corpus = read_corpus(tmp_path, limit=30)
    assert corpus.train.tolist() == list(range(30))
    assert corpus.valid.tolist() == [99, 98, 97]
    assert corpus.test.tolist() == [1, 100]
    assert len(corpus.vocabulary) == 101
    assert corpus.name.endswith(", first 30 tokens")
    assert read_corpus(tmp_path, limit=101).hash == read_corpus(tmp_path).hash


@pytest.mark.parametrize("limit", [19, 0, -1, True])
def test_bad_limit(folder, limit):
    with pytest.raises(ValueError, match="limit must be at least 20 tokens, got"):
        read_corpus(folder, limit=limit)


def test_unknown_word_names_file_and_line(tmp_path):
    write(tmp_path, train="a <unk>\n", valid="a\na a\na dog\n", test="a\n")
    with pytest.raises(UnknownTokenError, match=r"got 'dog' at line 3 of .*valid\.txt: build"):
        read_corpus(tmp_path)
    assert read_corpus(tmp_path, unknown="<unk>").valid.tolist() == [0, 2, 0, 0, 2, 0, 1, 2]


def test_unknown_word_on_the_first_line(tmp_path):
    write(tmp_path, train="a\n", valid="b\n", test="a\n")
    with pytest.raises(UnknownTokenError, match=r"got 'b' at line 1 of"):
        read_corpus(tmp_path)


def test_a_stand_in_that_the_text_lacks_comes_last(tmp_path):
    write(tmp_path, train="a b a\n", valid="dog\n", test="a <unk>\n")
    corpus = read_corpus(tmp_path, unknown="<unk>")
    assert corpus.vocabulary.tokens == ("a", "b", "<eos>", "<unk>")
    assert corpus.valid.tolist() == [3, 2]
    with pytest.raises(ValueError, match="unknown must be a token of the vocabulary, got '<unk>'"):
        read_corpus(tmp_path, unknown="<unk>", level=BYTES)
    known = Vocabulary(tokens=("a", "b", "<eos>"))
    with pytest.raises(ValueError, match="unknown must be a token of the vocabulary, got '<unk>'"):
        read_corpus(tmp_path, unknown="<unk>", vocabulary=known)


def test_a_stand_in_has_a_place_among_the_most_frequent(tmp_path):
    write(tmp_path, train="a a b b c d <unk>\n", valid="a d\n", test="a\n")
    cut = read_corpus(tmp_path, unknown="<unk>", vocabulary_size=3)
    assert cut.vocabulary.tokens == ("a", "b", "<unk>")
    lacking = read_corpus(tmp_path, unknown="UNK", vocabulary_size=3)
    assert lacking.vocabulary.tokens == ("a", "b", "UNK")
    assert lacking.train.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert lacking.name.endswith(", 3 types")
    with pytest.raises(ValueError, match="vocabulary_size must be at least 2 and stand alone"):
        read_corpus(tmp_path, vocabulary_size=9, level=BYTES)


def test_given_vocabulary(folder):
    vocabulary = Vocabulary(tokens=("<eos>", "c", "b", "a"))
    corpus = read_corpus(folder, vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary
    assert corpus.valid.tolist() == [1, 3, 0]
    with pytest.raises(UnknownTokenError, match=r"got 'c' at line 3 of .*train\.txt"):
        read_corpus(folder, vocabulary=Vocabulary(tokens=("a", "b", "<eos>")))


# -- bad input


def test_missing_folder(tmp_path):
    with pytest.raises(CorpusError, match="must be a folder with train text, got nothing there"):
        read_corpus(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="must be a folder with train text, got a file"):
        read_corpus(tmp_path / "file")


def test_missing_file_lists_what_was_looked_for(folder):
    (folder / "valid.txt").unlink()
    expected = (
        r"exactly one file of valid text, got none; looked for "
        r"valid\.txt, ptb\.valid\.txt, wiki\.valid\.tokens, each also as \.gz"
    )
    with pytest.raises(CorpusError, match=expected):
        read_corpus(folder)


@pytest.mark.parametrize("second", ["{split}.txt.gz", "wiki.{split}.tokens"])
def test_two_files_for_one_split(folder, second):
    write(folder, second, test="a")
    with pytest.raises(CorpusError, match=r"exactly one file of test text, got .* and "):
        read_corpus(folder)


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_empty_file(folder, split, level):
    write(folder, **{split: ""})
    with pytest.raises(CorpusError, match=rf"{split}\.txt must hold .*, got an empty file"):
        read_corpus(folder, level=level)


@pytest.mark.parametrize(
    ("content", "byte", "offset"),
    [
        (b"a b\nb \xff c\n", "0xff", 6),
        (b"a b\nb \x00 c\n", "0x00", 6),
        (b"a\n" * 1_000 + b"\xe2\x82", "0xe2", "2,000"),
        (b"\x89PNG\r\n\x1a\n", "0x89", 0),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_not_text(tmp_path, content, byte, offset, suffix):
    write(tmp_path, "{split}.txt" + suffix, train=content, valid="a", test="a")
    with pytest.raises(
        CorpusError, match=f"must be utf-8 text, got the byte {byte} at .* {offset}"
    ):
        read_corpus(tmp_path)


def test_not_text_in_evaluation(folder):
    write(folder, test=b"a\n\xff")
    with pytest.raises(CorpusError, match=r"test\.txt must be utf-8 text.* at offset 2"):
        read_corpus(folder)


@pytest.mark.parametrize("level", [CHARACTERS, BYTES], ids=lambda level: level.name)
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_one_token(folder, split, level):
    write(folder, **{split: "a"})
    with pytest.raises(CorpusError, match=rf"{split}\.txt must hold at least two tokens, got one"):
        read_corpus(folder, level=level)


def test_one_type(folder):
    write(folder, train="\n\n\n", valid="\n\n", test="\n\n")
    with pytest.raises(CorpusError, match="two different tokens, got the same one 3 times"):
        read_corpus(folder)


def damaged(kind):
    content = gzip.compress(b"a b\n" * 10_000)
    return {
        "cut": content[:-10],
        "flipped": content[:40] + bytes([content[40] ^ 0xFF]) + content[41:],
        "checksum": content[:-8] + b"\0" * 8,
        "no gzip": b"a b\n",
    }[kind]


@pytest.mark.parametrize("kind", ["cut", "flipped", "checksum", "no gzip"])
def test_damaged_gzip(tmp_path, kind):
    write(tmp_path, valid="a", test="a")
    (tmp_path / "train.txt.gz").write_bytes(damaged(kind))
    with pytest.raises(CorpusError, match=r"train\.txt\.gz must be a readable whole gzip file"):
        read_corpus(tmp_path)


# -- published corpora


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: known.name)
def test_counts_decide_what_is_recognised(known):
    assert recognise(known.files, known.tokens, known.types) is known
    assert recognise("{split}.txt", known.tokens, known.types) is known
    assert recognise(None, known.tokens, known.types) is known
    train, valid, test = known.tokens
    assert recognise("{split}.txt", (train + 1, valid, test), known.types) is None
    for tokens, types in [
        ((train + 1, valid, test), known.types),
        ((train, valid, test - 1), known.types),
        (known.tokens, known.types + 1),
    ]:
        with pytest.raises(ValueError, match=f"must hold {known.name}, {train:,} / .* got .*raw"):
            recognise(known.files, tokens, types)


@pytest.mark.parametrize("pattern", ["ptb.{split}.txt", "wiki.{split}.tokens.gz"])
def test_published_name_with_other_text(tmp_path, pattern):
    write(tmp_path, pattern, train="a b\n", valid="a\n", test="b\n")
    with pytest.raises(
        CorpusError, match=r"must hold .*, got 3 / 2 / 2 tokens of 3 types: usually"
    ):
        read_corpus(tmp_path)
    # other units of the same files were never published
    assert len(read_corpus(tmp_path, level=CHARACTERS).train) == 4


def test_mixed_names_promise_nothing(folder):
    (folder / "train.txt").rename(folder / "ptb.train.txt")
    assert read_corpus(folder).name == "toy"


@pytest.mark.parametrize(
    ("name", "known"), [("ptb", PUBLISHED[0]), ("wikitext-2", PUBLISHED[1])], ids=["ptb", "wt2"]
)
def test_published_text(name, known, tmp_path):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the corpus {name} is not there")
    corpus = read_corpus(SHARED / name)
    assert corpus.name == known.name
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == known.tokens
    assert len(corpus.vocabulary) == known.types
    assert torch.equal(corpus.train.unique(), torch.arange(known.types))
    cut = read_corpus(SHARED / name, limit=1_000)
    assert [len(cut.train), len(cut.valid), len(cut.test)] == [1_000, 100, 100]
    assert cut.vocabulary == corpus.vocabulary


def test_published_text_under_plain_names(tmp_path):
    if not (SHARED / "ptb").is_dir():
        pytest.skip("the corpus ptb is not there")
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt.gz").symlink_to(SHARED / "ptb" / f"ptb.{split}.txt.gz")
    assert read_corpus(tmp_path).name == "Penn Treebank"


def test_characters_of_a_public_text(tmp_path):
    if not (SHARED / "tiny-shakespeare").is_dir():
        pytest.skip("the corpus tiny-shakespeare is not there")
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt.gz").symlink_to(SHARED / "tiny-shakespeare" / "input.txt.gz")
    corpus = read_corpus(tmp_path, level=CHARACTERS)
    assert (len(corpus.train), len(corpus.vocabulary)) == (1_115_394, 65)


def test_the_most_frequent_types_and_a_stand_in_for_the_others(tmp_path):
    folder = write(tmp_path / "toy", train="a b a <unk> c\nb a d\n", valid="c d\n", test="a e\n")
    corpus = read_corpus(folder, unknown="<unk>", vocabulary_size=4)
    # three "a", two "b" and "<eos>", then the first of those that come once
    assert corpus.vocabulary.tokens == ("a", "b", "<unk>", "<eos>")
    assert corpus.vocabulary.decode(corpus.valid) == ["<unk>", "<unk>", "<eos>"]
    assert corpus.name == "toy, 4 types"
    assert len(read_corpus(folder, unknown="<unk>", vocabulary_size=99).vocabulary) == 6
    with pytest.raises(UnknownTokenError, match="'c' at line 1"):
        read_corpus(folder, vocabulary_size=4)
    with pytest.raises(ValueError, match="vocabulary_size must be at least 2 and stand alone"):
        read_corpus(folder, vocabulary=corpus.vocabulary, vocabulary_size=4)
