"""Readers of real data, the recommenders' protocol, translation and question answering."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import lowp
import lowp.data
import lowp.metrics
from lowp import data
from lowp.data import Interactions, LeaveOneOut, Loader, SpanFeatures, Subwords, TranslationDataset

SHARED = Path(__file__).parents[3] / "shared" / "data"
fashion = pytest.mark.skipif(not data._images.FASHION_MNIST_FOLDER.exists(), reason="no dataset-fashion-mnist")
shared = pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is absent")


@fashion
def test_fashion_mnist():
    test = data.fashion_mnist(train=False)
    assert len(test) == 10_000
    batch = next(iter(Loader(test, 32)))
    assert batch["x"].shape == (32, 1, 28, 28) and batch["x"].dtype == np.float32
    assert 0 <= batch["x"].min() < batch["x"].max() <= 1
    assert np.bincount(test.arrays["label"]).tolist() == [1000] * 10


def test_fashion_mnist_is_not_there(tmp_path):
    with pytest.raises(lowp.NotFound, match="apt install dataset-fashion-mnist"):
        data.fashion_mnist(folder=tmp_path)


def write_gzip(path, content):
    with gzip.open(path, "wb") as file:
        file.write(content)
    return path


def test_idx(tmp_path):
    path = tmp_path / "a.gz"
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    good = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + values.tobytes()
    np.testing.assert_array_equal(data.read_idx(write_gzip(path, good)), values)
    for bad, message in (
        (good[:-1], "23 bytes"),
        (b"\0\0\x0d" + good[3:], "no IDX"),
        (b"", "no IDX"),
        (good[:9], "no IDX"),
    ):
        with pytest.raises(lowp.CorruptFile, match=message):
            data.read_idx(write_gzip(path, bad))
    path.write_bytes(b"not gzip")
    with pytest.raises(lowp.CorruptFile, match="gzip"):
        data.read_idx(path)
    path.write_bytes(gzip.compress(good)[:-12])
    with pytest.raises(lowp.CorruptFile, match="gzip"):
        data.read_idx(path)


def ratings(users=6, items=150, each=20):
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(users), each)
    item = np.concatenate([rng.permutation(items)[:each] for _ in range(users)])
    item[0] = items - 1
    return Interactions(user, item, np.ones(len(user), np.float32), rng.integers(0, 30, len(user)))


def test_leave_one_out_holds_the_last_interaction_back():
    table = ratings()
    split = LeaveOneOut(table, seed=1)
    assert len(split.test) == 6 and split.test[0]["items"].shape == (100,)
    positives = len(table) - 6
    train = split.train.for_epoch(0)
    assert len(split.train) == len(train) == 5 * positives
    trained = set(zip(train.arrays["user"][:positives], train.arrays["item"][:positives], strict=True))
    for row in range(6):
        user, items = split.test[row]["user"], split.test[row]["items"]
        mine = np.flatnonzero(table.user == user)
        held = [i for i in mine if table.item[i] == items[0]][0]
        assert table.time[held] == table.time[mine].max()
        assert held == mine[table.time[mine] == table.time[mine].max()][-1]  # of equal times the later row
        assert (user, items[0]) not in trained
        assert len(set(items)) == 100
        assert not set(items[1:]) & set(table.item[mine])


def test_negatives_are_new_each_epoch_and_can_be_made_again():
    table = ratings()
    split = LeaveOneOut(table, seed=1)
    first, second = split.train.for_epoch(0), split.train.for_epoch(1)
    assert (first.arrays["item"] != second.arrays["item"]).any()
    np.testing.assert_array_equal(split.train.for_epoch(0).arrays["item"], first.arrays["item"])
    again = LeaveOneOut(table, seed=1)
    np.testing.assert_array_equal(again.train.for_epoch(1).arrays["item"], second.arrays["item"])
    np.testing.assert_array_equal(again.test.arrays["items"], split.test.arrays["items"])
    assert (LeaveOneOut(table, seed=2).test.arrays["items"] != split.test.arrays["items"]).any()
    users, items, labels = (first.arrays[k] for k in ("user", "item", "label"))
    trained = set(zip(users[labels == 1], items[labels == 1], strict=True))
    negatives = list(zip(users[labels == 0], items[labels == 0], strict=True))
    assert len(negatives) == 4 * len(trained) and not trained & set(negatives)
    # The held-out item is one negative among the others: 19 x 4 draws out of 131, over 40 epochs.
    held = set(zip(split.test.arrays["user"], split.test.arrays["items"][:, 0], strict=True))
    drawn = [split.train.for_epoch(e).arrays for e in range(40)]
    hits = sum((u, i) in held for d in drawn for u, i in zip(d["user"], d["item"], strict=True))
    assert 0.7 * 40 * 6 * 76 / 131 < hits < 1.4 * 40 * 6 * 76 / 131


def test_negatives_that_cannot_be_drawn():
    everything = Interactions(np.zeros(5, int), np.arange(5), np.ones(5), np.arange(5))
    with pytest.raises(lowp.InvalidArgument, match="user 0 has 0 items without interaction, 99"):
        LeaveOneOut(everything)
    with pytest.raises(lowp.InvalidArgument, match="user 0 has interacted with all 5 items"):
        data.TrainingPairs(np.zeros(5, int), np.arange(5), 1, 5, 4, 0)
    with pytest.raises(lowp.InvalidArgument, match="no interactions"):
        LeaveOneOut(Interactions(*(np.zeros(0, int),) * 4))


def test_movielens():
    pytest.importorskip("pyarrow")
    try:
        table = data.movielens_100k()
    except lowp.IoError as e:
        pytest.skip(str(e))
    assert (len(table), table.users, table.items) == (100_000, 943, 1682)
    assert table.rating.min() == 1 and table.rating.max() == 5
    split = LeaveOneOut(table)
    assert len(split.test) == 943 and len(split.train) == 5 * (100_000 - 943)


def test_generated_pairs_are_german():
    pairs = data.generated_pairs(3000, seed=1)
    assert data.generated_pairs(10, seed=1, start=5) == pairs[5:15]
    assert len(set(pairs)) > 2900
    assert len(dict(pairs)) == len(dict((t, s) for s, t in set(pairs)))  # neither side has two translations
    assert all(s[0].isupper() and t[0].isupper() and s[-1] == t[-1] == "." for s, t in pairs)
    assert not any("  " in s + t or " a a" in s or " a o" in s or " a e" in s for s, t in pairs)
    test = {s for s, _ in data.generated_pairs(1000, seed=1, start=10**6)}
    assert len(test & {s for s, _ in pairs}) < 20


@pytest.fixture(scope="module")
def words():
    return Subwords.train([s for pair in data.generated_pairs(500) for s in pair], 600)


def test_subwords(words, tmp_path):
    text = ["A young man is reading.", "Ein Mädchen sucht den großen Schlüssel.", "漢字 🙂", "two  spaces"]
    ids = words.encode(text)
    assert [words.decode([data.BEGIN, *i, data.END, 5, data.PAD]) for i in ids] == text
    assert len(ids[0]) < len(text[0]) / 2
    assert len(words) == 600
    words.save(tmp_path / "v.json")
    assert Subwords.load(tmp_path / "v.json").encode(text) == ids
    same = Subwords.train([s for pair in data.generated_pairs(500) for s in pair], 600)
    assert same.encode(text) == ids
    with pytest.raises(lowp.InvalidArgument, match="size is 100; 259"):
        Subwords.train(text, 100)
    with pytest.raises(lowp.NotFound, match="nowhere"):
        Subwords.load(tmp_path / "nowhere")
    (tmp_path / "v.json").write_text("{}")
    with pytest.raises(lowp.CorruptFile, match="no vocabulary"):
        Subwords.load(tmp_path / "v.json")


def test_translation_batches(words):
    pairs = data.generated_pairs(400) + [("", "leer"), ("word " * 100, "zu lang")]
    made = TranslationDataset(pairs, words, words, max_length=40)
    assert made.left_out >= 2 and len(made) + made.left_out == 402
    loader = Loader(made, 16, lengths=made.lengths, collate=made.collate, seed=3)
    wasted = total = 0
    for batch in loader:
        s, t = batch["source"], batch["target_in"]
        assert s.shape[1] % 8 == t.shape[1] % 8 == 0
        assert (t[:, 0] == data.BEGIN).all()
        for row, length in zip(s, batch["source_length"], strict=True):
            assert (row[:length] > 2).all() and (row[length:] == data.PAD).all()
        out = batch["target_out"]
        np.testing.assert_array_equal(out[:, :-1][t[:, 1:] > 2], t[:, 1:][t[:, 1:] > 2])
        assert ((out == data.END).sum(1) == 1).all()
        wasted, total = wasted + (out == data.PAD).sum(), total + out.size
    assert wasted / total < 0.3
    with pytest.raises(lowp.InvalidArgument, match="none of 1 pairs"):
        TranslationDataset([("", "x")], words, words)


def test_pairs_of_files(tmp_path):
    (tmp_path / "a").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "b").write_text("eins\n", encoding="utf-8")
    with pytest.raises(lowp.ShapeMismatch, match="has 2 lines, .* has 1"):
        data.read_pairs(tmp_path / "a", tmp_path / "b")
    write_gzip(tmp_path / "b.gz", b"eins\nzwei\n")
    assert data.read_pairs(tmp_path / "a", tmp_path / "b.gz") == [("one", "eins"), ("two", "zwei")]
    with pytest.raises(lowp.NotFound, match="does not exist"):
        data.multi30k(tmp_path)
    (tmp_path / "b.gz").write_bytes(b"x")
    with pytest.raises(lowp.CorruptFile):
        data.read_pairs(tmp_path / "a", tmp_path / "b.gz")


@shared
def test_multi30k():
    pairs = data.multi30k(SHARED / "multi30k", "val")
    assert len(pairs) == 1014 and all(s and t for s, t in pairs)


def wordpiece(texts, size=500):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special))
    return tokenizer


def perfect_logits(features):
    rows = np.arange(len(features))
    batch = features.take(rows)
    logits = np.zeros((2, *batch["input_ids"].shape), np.float32)
    logits[0][rows, batch["start"]] = 5
    logits[1][rows, batch["end"]] = 5
    return logits


def test_generated_questions_are_answered_by_their_spans():
    questions = data.generated_questions(200, seed=3)
    assert data.generated_questions(5, seed=3, start=7) == questions[7:12]
    for q in questions:
        (answer,) = q.answers
        assert q.context[answer.start : answer.start + len(answer.text)] == answer.text
    features = SpanFeatures(questions, wordpiece([q.context for q in questions]), 64, 16, 24)
    assert len(features.windows) > 200
    found = features.answers(*perfect_logits(features))
    assert {q.id: q.answers[0].text for q in questions} == found
    assert lowp.metrics.exact_match(found, {q.id: [a.text for a in q.answers] for q in questions}) == 1


def test_windows_cover_the_context():
    context = " ".join(f"w{i}" for i in range(100))
    question = data.Question("q", "where is it", context, (data.Answer("w57 w58", context.index("w57 w58")),))
    tokenizer = wordpiece([context, "where is it"], 2000)
    features = SpanFeatures([question], tokenizer, length=40, doc_stride=10, max_question=8)
    seen = np.zeros(len(context), bool)
    holds = 0
    for index, window in enumerate(features.windows):
        offsets = features.offsets(index)
        for begin, end in offsets[offsets[:, 0] >= 0]:
            seen[begin:end] = True
        if window.start:
            assert context[offsets[window.start, 0] : offsets[window.end, 1]] == "w57 w58"
            holds += 1
    assert seen[[c != " " for c in context]].all()
    assert holds >= 2
    sample = features[0]
    used = sample["attention_mask"].sum()
    ids = sample["input_ids"]
    assert ids[0] == tokenizer.token_to_id("[CLS]") and ids[used - 1] == tokenizer.token_to_id("[SEP]")
    assert (ids[used:] == tokenizer.token_to_id("[PAD]")).all()
    first = int(sample["token_type_ids"].argmax())
    assert tokenizer.decode(list(ids[1 : first - 1])) == "where is it"
    assert sample["token_type_ids"].sum() == used - first


def test_windows_refuse(tmp_path):
    tokenizer = wordpiece(["a b c"])
    question = data.Question("q", "a", "b c", ())
    assert SpanFeatures([question], tokenizer, 16, 4, 4)[0]["start"] == 0
    with pytest.raises(lowp.InvalidArgument, match="leaves 9 for the context; doc_stride is 10"):
        SpanFeatures([question], tokenizer, 16, 10, 4)
    with pytest.raises(lowp.InvalidArgument, match="no questions"):
        SpanFeatures([], tokenizer)
    from tokenizers import Tokenizer, models

    with pytest.raises(lowp.InvalidArgument, match=r"lacks \[CLS\], \[SEP\], \[PAD\]"):
        SpanFeatures([question], Tokenizer(models.BPE()))
    with pytest.raises(lowp.ShapeMismatch, match=r"start_logits has shape \[1, 3\], \[1, 16\]"):
        SpanFeatures([question], tokenizer, 16, 4, 4).answers(np.zeros((1, 3)), np.zeros((1, 3)))


def squad(**changes):
    qa = {"id": "1", "question": "who?", "answers": [{"text": "Ann", "answer_start": 4}]} | changes
    return {"data": [{"paragraphs": [{"context": "So, Ann did.", "qas": [qa]}]}]}


def test_read_squad(tmp_path):
    path = tmp_path / "q.json"

    def read(document):
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return data.read_squad(path)

    assert read(squad()) == [data.Question("1", "who?", "So, Ann did.", (data.Answer("Ann", 4),))]
    assert read(squad(answers=[]))[0].answers == ()
    with pytest.raises(lowp.InvalidArgument, match="'1'.*the answer is 'Ann', the context has ', An' at 2|, A"):
        read(squad(answers=[{"text": "Ann", "answer_start": 2}]))
    with pytest.raises(lowp.CorruptFile, match=r"data\[0\].paragraphs\[0\].qas\[0\]: 'id' is int, a str is wanted"):
        read(squad(id=3))
    with pytest.raises(lowp.CorruptFile, match="'data' is nothing"):
        read({})
    with pytest.raises(lowp.CorruptFile, match="no JSON"):
        read("{")
    with pytest.raises(lowp.NotFound):
        data.read_squad(tmp_path / "none")


@shared
def test_xquad():
    questions = data.read_squad(SHARED / "xquad" / "xquad.en.json")
    assert len(questions) == 918
    features = SpanFeatures(questions[:100], wordpiece([q.context for q in questions], 4000), 128, 64, 32)
    found = features.answers(*perfect_logits(features), max_answer=60)
    truth = {q.id: [a.text for a in q.answers] for q in questions[:100]}
    assert lowp.metrics.f1(found, truth) > 0.97  # WordPiece cuts at words; a few answers end inside one
