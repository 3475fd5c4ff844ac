# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Token shards and mixtures: what is written is read, and by (seed, batch)."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from tbq.data.errors import DataError
from tbq.data.mixture import TokenMixture
from tbq.data.shards import FACTS, ShardWriter, TokenShards


def stream(directory, count, first=0, vocabulary=60000, **more):
    writer = ShardWriter(directory, vocabulary, **more)
    for at in range(0, count, 100):
        tokens = np.arange(first + at, first + min(at + 100, count))
        writer.append(tokens, tokens % 2 if more.get("mask") else None)
    writer.close({"made by": "a test"})
    return TokenShards(directory)


def rows(directory, count, length, first=0, **more):
    writer = ShardWriter(directory, 60000, row_length=length, **more)
    writer.append(first + np.arange(count * length).reshape(count, length))
    writer.close({})


def test_written_is_read(tmp_path):
    shards = stream(tmp_path / "s", 1000, shard_tokens=300, mask="loss")
    assert shards.tokens == 1000 and shards.mask == "loss"
    assert shards.facts == {"made by": "a test"}
    assert len(list((tmp_path / "s").glob("tokens-*.bin"))) == 4
    # Windows of 7 in 300 tokens at any offset: (300 - 6) // 7 = 42.
    assert shards.windows(7) == 3 * 42 + 13
    ids, mask = shards.read(np.array([0, 41, 42, 138]), 7, offset=6)
    assert ids[:, 0].tolist() == [6, 293, 306, 990]
    assert np.array_equal(ids, ids[:, :1] + np.arange(7))
    assert np.array_equal(mask, ids % 2)


def test_what_was_appended_stays(tmp_path):
    writer = ShardWriter(tmp_path, 50, mask="loss")
    tokens, mask = np.arange(9, dtype="<u2"), np.ones(9, dtype=np.uint8)
    writer.append(tokens, mask)
    tokens[:], mask[:] = 0, 0
    writer.close({})
    ids, kept = TokenShards(tmp_path).read(np.array([0]), 5)
    assert ids.tolist() == [[0, 1, 2, 3, 4]] and kept.all()


def test_type_follows_the_vocabulary(tmp_path):
    stream(tmp_path / "a", 10, vocabulary=65536)
    assert (tmp_path / "a/tokens-00000.bin").stat().st_size == 20
    shards = stream(tmp_path / "b", 10, first=70000, vocabulary=70010)
    assert (tmp_path / "b/tokens-00000.bin").stat().st_size == 40
    assert shards.read(np.array([0]), 4)[0].tolist() == [
        [70000, 70001, 70002, 70003]]


def test_windows_do_not_straddle_rows(tmp_path):
    rows(tmp_path, 3, 10)
    shards = TokenShards(tmp_path)
    assert shards.windows(4) == 6
    ids, _ = shards.read(np.arange(6), 4, offset=3)  # rows know no offset
    assert ids[:, 0].tolist() == [0, 4, 10, 14, 20, 24]
    with pytest.raises(DataError, match="rows of 10 have no window of 11"):
        shards.windows(11)


def test_workers_are_one_directory(tmp_path):
    for rank in (1, 0):
        rows(tmp_path, 2, 4, first=100 * rank, rank=rank, ranks=2)
        if rank == 1:
            with pytest.raises(DataError, match="not finished"):
                TokenShards(tmp_path)
    ids, _ = TokenShards(tmp_path).read(np.arange(4), 4)
    assert ids[:, 0].tolist() == [0, 4, 100, 104]
    (tmp_path / "rank-1" / FACTS).unlink()
    with pytest.raises(DataError, match="rank-1/data.json"):
        TokenShards(tmp_path)


def mixture(tmp_path, **more):
    sources = [(TokenShards(tmp_path / "a"), 0.3),
               (TokenShards(tmp_path / "b"), 0.7)]
    return TokenMixture(sources, rows=6, length=5, seed=9, **more)


@pytest.fixture
def two(tmp_path):
    stream(tmp_path / "a", 400, mask="loss")
    rows(tmp_path / "b", 40, 5, first=1000)
    return tmp_path


def test_batch_is_a_function_of_its_number(two):
    straight = mixture(two)
    batches = [straight.batch(b) for b in range(40)]
    resumed = mixture(two)
    for b in (33, 7, 39):
        assert torch.equal(resumed.batch(b).ids, batches[b].ids)
    assert not torch.equal(batches[0].ids, batches[1].ids)
    other = TokenMixture([(s.shards, 1) for s in straight.sources], 6, 5, 10)
    assert not torch.equal(other.batch(0).ids, batches[0].ids)


def test_shares_are_kept(two):
    mixed = mixture(two)
    drawn = Counter()
    for b in range(40):
        batch = mixed.batch(b)
        assert batch.ids.shape == (6, 5)
        assert torch.equal(batch.ids[:, 0] >= 1000, batch.source == 1)
        drawn.update(batch.source.tolist())
        assert abs(drawn[0] - 0.3 * 6 * (b + 1)) <= 1
        assert list(mixed.drawn(b + 1)) == [drawn[0], drawn[1]]


def test_every_window_once_an_epoch(two):
    mixed = TokenMixture([(TokenShards(two / "b"), 1)], 8, 5, seed=1)
    for epoch in range(2):
        seen = [i for b in range(5) for i in
                mixed.batch(5 * epoch + b).ids[:, 0].tolist()]
        assert sorted(seen) == list(range(1000, 1200, 5))
        assert seen != sorted(seen)


def test_a_stream_starts_elsewhere_in_every_epoch(two):
    shards = TokenShards(two / "a")
    mixed = TokenMixture([(shards, 1)], shards.windows(5), 5, seed=1)
    offsets = {int(mixed.batch(b).ids[0, 0]) % 5 for b in range(12)}
    assert len(offsets) > 2
    for b in range(3):
        assert len({int(i) % 5 for i in mixed.batch(b).ids[:, 0]}) == 1


def test_ranks_divide_the_same_rows(two):
    whole = mixture(two).batch(4)
    parts = [mixture(two, rank=r, ranks=3).batch(4) for r in range(3)]
    together = sorted(row for part in parts for row in part.ids.tolist())
    assert together == sorted(whole.ids.tolist())
    assert all(part.ids.shape == (2, 5) for part in parts)


def test_only_loss_masks_are_about_labels(two):
    batch = mixture(two).batch(0)
    first = batch.source == 0
    assert torch.equal(batch.labelled[first], batch.ids[first] % 2 == 1)
    assert batch.labelled[~first].all()
    shards = stream(two / "c", 400, mask="sampled")
    assert TokenMixture([(shards, 1)], 6, 5, 9).batch(0).labelled.all()


@pytest.mark.parametrize("field,value,message", [
    ("format", 2, "format: is not 1"),
    ("shards", None, "shards: is missing"),
    ("row_length", 0, "row_length: 0 is not a length"),
    ("type", "<u4", "type: '<u4' does not go"),
    ("mask", "los", "mask: 'los' is not one of loss, sampled")])
def test_bad_facts_are_refused(tmp_path, field, value, message):
    stream(tmp_path, 50)
    facts = json.loads((tmp_path / FACTS).read_text())
    facts[field] = value
    (tmp_path / FACTS).write_text(json.dumps(facts))
    with pytest.raises(DataError, match=message):
        TokenShards(tmp_path)


def test_broken_directories_are_refused(tmp_path):
    shards = stream(tmp_path, 50)
    with pytest.raises(DataError, match="50 have no window of 26"):
        shards.windows(26)
    with pytest.raises(DataError, match="exists already"):
        ShardWriter(tmp_path, 50)
    (tmp_path / "tokens-00000.bin").write_bytes(b"123456")
    with pytest.raises(DataError, match="3 are there, data.json says 50"):
        TokenShards(tmp_path)
    (tmp_path / "tokens-00000.bin").unlink()
    with pytest.raises(DataError, match="tokens-00000.bin"):
        TokenShards(tmp_path)
    (tmp_path / FACTS).write_text("{")
    with pytest.raises(DataError, match="data.json: file"):
        TokenShards(tmp_path)


def test_wrong_arguments_are_refused(tmp_path):
    writer = ShardWriter(tmp_path / "w", 50, row_length=4)
    with pytest.raises(DataError, match="3 to 50 is not within .* of 50"):
        writer.append([3, 4, 5, 50])
    with pytest.raises(ValueError, match="whole rows"):
        writer.append([3, 4])
    with pytest.raises(ValueError, match="a mask for all or for none"):
        writer.append([3, 4, 5, 6], [1, 1, 1, 1])
    a = stream(tmp_path / "a", 50)
    b = stream(tmp_path / "b", 50, vocabulary=50)
    with pytest.raises(DataError, match="sources differ"):
        TokenMixture([(a, 1), (b, 1)], 4, 5, 0)
    with pytest.raises(ValueError, match="multiple of 3 ranks"):
        TokenMixture([(a, 1)], 4, 5, 0, ranks=3)
    with pytest.raises(ValueError, match="not positive"):
        TokenMixture([(a, 1), (a, 0)], 4, 5, 0)
    with pytest.raises(ValueError, match="too few for 4 sources"):
        TokenMixture([(a, 1)] * 4, 4, 5, 0)
