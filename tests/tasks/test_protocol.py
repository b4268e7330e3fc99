"""The evaluation protocol: scores, access to the test labels, and what the result does not depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from made_up import MadeUp, task
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from m2l_bench.probes import LinearProbe, MLPProbe, large, selection
from m2l_bench.tasks.base import LeakError, Task, pool
from m2l_bench.tasks.outcome import Result
from m2l_bench.tasks.protocol import _part, evaluate
from m2l_bench.tasks.sources.source import KnownTags, TaskItem
from tests.peak_memory import peak_memory, restart_peak

PROBE = LinearProbe(l2=(1e-3, 1e-1))
MLP = MLPProbe(hidden_size=16, max_epochs=15, batch_size=16, learning_rates=(1e-2,))
KINDS = ["single-label", "key", "multi-label"]


def same(one: Result, other: Result) -> None:
    for name in ("probe", "labels", "items", "failures", "note", "data_hash", "n_train"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(one.targets, other.targets)
    for mine, theirs in zip(one.seeds, other.seeds, strict=True):
        np.testing.assert_array_equal(mine.logits, theirs.logits)
        assert dataclasses.replace(mine, logits=theirs.logits) == theirs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probe", [PROBE, MLP], ids=["linear", "mlp"])
def test_scores_are_those_of_the_probes_predictions(kind: str, probe: LinearProbe | MLPProbe) -> None:
    source = MadeUp(kind)
    result = evaluate(task(source), source.features(), probe, seeds=(0, 1))
    assert len(result.items) == 37 and not result.failures
    for seed in result.seeds:
        if kind == "multi-label":
            assert seed.scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(result.targets, seed.logits))
            assert seed.scores["roc_auc"] > 0.85
        else:
            assert seed.scores["accuracy"] == metrics.accuracy_score(result.targets, seed.logits.argmax(axis=1)) > 0.8
        for metric, (low, high) in seed.intervals.items():
            assert low <= seed.scores[metric] <= high
    assert not hasattr(probe, "classes_") and probe.scoring is None
    assert result.confusion().sum() == 2 * 37 * (3 if kind == "multi-label" else 1)


def test_a_probe_that_did_not_converge_is_told_in_the_note_alone() -> None:
    source, note = MadeUp(noise=2.0), "The probe's training was stopped before it converged."
    early = evaluate(task(source), source.features(), LinearProbe(l2=(1e-9,), max_iter=2), seeds=(0, 1))
    assert note in early.note
    assert note not in evaluate(task(source), source.features(), PROBE, seeds=(0,)).note


def test_a_penalty_at_the_edge_of_the_grid_is_told_in_the_note() -> None:
    source, note = MadeUp(noise=3.0), "The selected penalty is at the edge of the grid"
    strong = evaluate(task(source), source.features(), LinearProbe(l2=(1.0, 10.0, 100.0)), seeds=(0, 1))
    assert strong.note.count(note) == 1 and f"{note} (1e0)." in strong.note
    inside = LinearProbe(l2=(1e-12, 1e-3, 1e-2, 1e-1, 1e4))
    assert note not in evaluate(task(source), source.features(), inside, seeds=(0,)).note
    constant = {item: np.ones_like(values) for item, values in source.features().items()}  # all penalties are equal
    assert note not in evaluate(task(source), constant, LinearProbe(), seeds=(0,)).note


def test_equal_scores_with_scikit_learn() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    source = MadeUp(noise=2.0)
    result = evaluate(task(source), source.features(), LinearProbe(l2=(1e-2,)), seeds=(0,))
    x = {item.id: source.features()[item.id][:, 0] for item in source.items()}
    labels = {split: source.labels(split) for split in ("train", "test")}
    arrays = {split: (np.stack([x[i] for i in labels[split]]), list(labels[split].values())) for split in labels}
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (1e-2 * len(arrays["train"][1])), tol=1e-8))
    assert result.mean("accuracy") == oracle.fit(*arrays["train"]).score(*arrays["test"])


@pytest.mark.parametrize("kind", KINDS)
def test_shuffled_labels_give_chance(kind: str) -> None:
    source = MadeUp(kind, n=600, shuffle=True)
    result = evaluate(task(source), source.features(), PROBE, seeds=(0,))
    metric = "roc_auc" if kind == "multi-label" else "accuracy"
    low, high = result.seeds[0].intervals[metric]
    assert low < (0.5 if kind == "multi-label" else 1 / 3) < high


def test_test_labels_are_out_of_reach_until_everything_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeUp()
    logits = LinearProbe.logits

    def recorded(self: LinearProbe, x: np.ndarray) -> np.ndarray:
        source.events.append("predict")
        return logits(self, x)

    monkeypatch.setattr(LinearProbe, "logits", recorded)
    evaluate(task(source), source.features(), PROBE, seeds=(0, 1))
    assert source.events == ["labels train", "labels valid", "predict", "predict", "labels test"]


def test_a_source_that_raises_on_test_labels_stops_only_the_scoring() -> None:
    class Sealed(MadeUp):
        def labels(self, split: str) -> object:
            if split == "test":
                raise PermissionError("sealed")
            return super().labels(split)

    source = Sealed()
    with pytest.raises(PermissionError, match="sealed") as error:
        evaluate(task(source), source.features(), PROBE)
    assert source.events == ["labels train", "labels valid"] and "evaluate" in [entry.name for entry in error.traceback]


def test_the_grid_never_sees_the_test_split() -> None:
    source = MadeUp(noise=2.0)
    features = source.features()
    before = evaluate(task(source), features, PROBE, seeds=(0,))
    for item in source.items():
        if item.split == "test":
            features[item.id] = features[item.id] * 100 + 7
    after = evaluate(task(source), features, PROBE, seeds=(0,))
    assert before.seeds[0].validation_score == after.seeds[0].validation_score
    assert not np.array_equal(before.seeds[0].logits, after.seeds[0].logits)


@pytest.mark.parametrize("probe", [PROBE, MLP], ids=["linear", "mlp"])
def test_order_of_files_and_seeds_evaluated_together_change_nothing(probe: LinearProbe | MLPProbe) -> None:
    class Reordered(MadeUp):
        def items(self) -> list[TaskItem]:
            return super().items()[::-1]

    one, other = MadeUp(), Reordered()
    together = evaluate(task(one), one.features(), probe, seeds=(0, 1, 2))
    same(together, evaluate(task(other), dict(reversed(other.features().items())), probe, seeds=(0, 1, 2)))
    for seed in together.seeds:  # resumed at any seed
        alone = evaluate(task(one), one.features(), probe, seeds=(seed.seed,))
        same(dataclasses.replace(together, seeds=(seed,)), alone)


def test_threads_change_nothing() -> None:
    import torch

    source = MadeUp("multi-label")
    before, results = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(evaluate(task(source), source.features(), MLP, seeds=(0,)))
    torch.set_num_threads(before)
    same(*results)


def part(seed: int) -> Result:
    """One seed's evaluation, as a worker process runs it."""
    source = MadeUp("multi-label")
    return evaluate(task(source), source.features(), MLP, seeds=(seed,))


def test_another_process_and_order_change_nothing() -> None:
    source = MadeUp("multi-label")
    here = evaluate(task(source), source.features(), MLP, seeds=(0, 1))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        there = list(other.map(part, (1, 0)))
    for seed, result in zip(here.seeds, reversed(there), strict=True):
        same(dataclasses.replace(here, seeds=(seed,)), result)


def test_clips_of_an_item_are_averaged_and_items_are_scored() -> None:
    source = MadeUp()
    one = evaluate(task(source), source.features(), PROBE, seeds=(0,))
    many = evaluate(task(source), source.features(clips=3), PROBE, seeds=(0,))
    assert len(many.items) == len(one.items)
    np.testing.assert_allclose(one.seeds[0].logits, many.seeds[0].logits, atol=1e-3)
    features = source.features(clips=2)
    item = next(item for item in source.items() if item.split == "test")
    features[item.id][:, 1] = 0.0
    k = [i.id for i in one.items].index(item.id)
    averaged = evaluate(task(source), features, PROBE, seeds=(0,)).seeds[0].logits[k]
    zero = (
        evaluate(task(source), {**source.features(), item.id: np.zeros((8, 1))}, PROBE, seeds=(0,)).seeds[0].logits[k]
    )
    np.testing.assert_allclose(averaged, (one.seeds[0].logits[k] + zero) / 2, atol=1e-3)


def test_items_without_features_or_label_are_counted_and_named() -> None:
    source = MadeUp(unlabelled=("i149", "i001"))
    features = source.features()
    del features["i148"], features["i000"]
    result = evaluate(task(source, caveat="Made up."), features, PROBE, seeds=(0,))
    assert dict(result.failures) == {"i148": "no features", "i149": "no usable label"}
    assert len(result.items) == 35 and result.n_train == 74
    assert result.note.startswith("Made up.")
    assert "2 training items were left out (no features or no usable label)." in result.note


def test_a_label_that_training_lacks_is_wrong_and_a_tag_that_the_test_lacks_is_dropped() -> None:
    class Strange(MadeUp):
        def label(self, k: int) -> str | tuple[str, ...]:
            if self.kind == "multi-label":
                return tuple(tag for tag in super().label(k) if tag != "b" or k < 113)
            return "z" if k == 149 else super().label(k)

    source = Strange()
    result = evaluate(task(source), source.features(), PROBE, seeds=(0,))
    assert result.labels == ("a", "b", "c", "z") and "do not occur in training: z" in result.note
    values = result.item_values("accuracy", result.seeds[0])
    assert values[[item.id for item in result.items].index("i149")] == 0.0
    source = Strange("multi-label")
    result = evaluate(task(source), source.features(), PROBE, seeds=(0,))
    assert "1 of 3 tags are absent" in result.note and 0.8 < result.mean("roc_auc") <= 1


class Partly(MadeUp):
    """Items that were annotated for some of the tags."""

    share = 0.5

    def label(self, k: int) -> KnownTags:
        asked = np.random.default_rng(k).random(self.n_labels) < self.share
        asked[k % self.n_labels] = True
        there = [tag in super(Partly, self).label(k) for tag in self.names()]
        named = list(zip(self.names(), asked, there, strict=True))
        return KnownTags(
            tuple(tag for tag, known, present in named if known and present),
            tuple(tag for tag, known, present in named if known and not present),
        )


@pytest.mark.parametrize("probe", [PROBE, MLP, LogisticRegression()], ids=lambda probe: type(probe).__name__)
def test_unknown_tags_have_no_part_in_scores(probe: object) -> None:
    source = Partly("multi-label", noise=2.0, n_labels=4)
    truth = {f"i{k:03d}": source._y[k] for k in range(source.n)}
    result = evaluate(task(source), source.features(clips=2), probe, seeds=(0,))
    (seed,) = result.seeds
    known = result.targets >= 0
    assert 0.5 < known.mean() < 0.8 and f"{1 - known.mean():.0%} of the pairs of a test item and a tag" in result.note
    of_items = np.array([truth[item.id] for item in result.items])
    np.testing.assert_array_equal(result.targets, np.where(known, of_items, -1))
    for metric, oracle in (("roc_auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)):
        expected = np.mean([oracle(of_items[k, t], seed.logits[k, t]) for t, k in enumerate(known.T)])
        assert seed.scores[metric] == pytest.approx(expected, abs=1e-12) and expected > 0.7
        assert seed.intervals[metric][0] < expected < seed.intervals[metric][1]
        assert result.item_values(metric, seed).mean() == pytest.approx(expected)
    assert result.confusion().sum() == known.sum()
    for name, target in zip(map(result.names, result.targets), result.targets, strict=True):
        assert name == ";".join(tag for tag, there in zip(result.labels, target, strict=True) if there == 1)


def test_a_tag_that_is_known_where_it_is_present_alone_is_left_out_and_told() -> None:
    class OneSided(Partly):
        def label(self, k: int) -> KnownTags:
            known = super().label(k)
            present = known.present or ("b",)  # at least one tag must be known
            return known if k < 113 else KnownTags(present, tuple(set(known.absent) - {"a", *present}))

    source = OneSided("multi-label", noise=2.0)
    result = evaluate(task(source), source.features(), PROBE, seeds=(0,))
    assert set(result.targets[:, 0]) == {-1, 1} and "1 of 3 tags are absent from (or on all of)" in result.note
    rest = [
        metrics.roc_auc_score(result.targets[known, k], result.seeds[0].logits[known, k])
        for k, known in enumerate((result.targets >= 0).T)
        if k
    ]
    assert result.mean("roc_auc") == pytest.approx(np.mean(rest), abs=1e-12)


def test_tags_that_are_all_known_give_the_same_numbers_either_way() -> None:
    whole, parts = MadeUp("multi-label", noise=2.0), Partly("multi-label", noise=2.0)
    parts.share = 1.0
    for probe in (PROBE, MLP, LogisticRegression()):
        probe = OneVsRestClassifier(probe) if isinstance(probe, LogisticRegression) else probe
        one, other = (evaluate(task(source), source.features(), probe, seeds=(0,)) for source in (whole, parts))
        same(dataclasses.replace(one, data_hash=other.data_hash), other)


def test_what_is_unknown_is_part_of_the_datas_identity_and_named_tags_are_checked() -> None:
    some, all_of_them = Partly("multi-label"), Partly("multi-label")
    all_of_them.share = 1.0
    assert task(some).labels_hash != task(all_of_them).labels_hash
    with pytest.raises(ValueError, match=r"label of 'i\d+' must be one of a, b, got \['c'\]"):
        task(some, labels=("a", "b")).split_labels("train")
    some.label = lambda k: KnownTags(("a",), ("z",))  # an absent tag must be in the table too
    with pytest.raises(ValueError, match=r"label of 'i\d+' must be one of a, b, got \['z'\]"):
        task(some, labels=("a", "b")).split_labels("train")
    with pytest.raises(ValueError, match="present or absent, got both of b"):
        KnownTags(("a", "b"), ("b",))
    with pytest.raises(ValueError, match="present or absent, got none"):
        KnownTags((), ())


def test_fewer_training_items_are_nested_and_in_proportion() -> None:
    source = MadeUp()
    made = task(source)
    labels = source.labels("train")
    train = _part(made, made.items(), source.features(), "train", labels)
    chosen = {n: train.chosen(n) for n in (3, 12, 75)}
    names = {n: {item.id for item in part.items} for n, part in chosen.items()}
    assert names[3] < names[12] < names[75] and [len(several) for several in names.values()] == [3, 12, 75]
    for label in "abc":
        assert abs(chosen[12].labels.count(label) - 12 * train.labels.count(label) / 76) <= 1
    for item, clip, label in zip(chosen[12].items, chosen[12].clips, chosen[12].labels, strict=True):
        np.testing.assert_array_equal(clip, source.features()[item.id][:, 0])
        assert label == labels[item.id]


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_curve_ends_at_the_whole_training_split(kind: str) -> None:
    source = MadeUp(kind, noise=2.0)
    features = source.features()
    whole = evaluate(task(source), features, PROBE, seeds=(0,))
    assert whole.n_train == 76
    same(whole, evaluate(task(source), features, PROBE, seeds=(0,), train_items=76))
    few = evaluate(task(source), features, PROBE, seeds=(0,), train_items=4)
    assert few.n_train == 4 and few.data_hash == whole.data_hash and not few.note
    metric = task(source).main_metric
    assert few.mean(metric) < whole.mean(metric)
    for n in (0, 77):
        with pytest.raises(ValueError, match=f"train_items must be 1 to 76, got {n}"):
            evaluate(task(source), features, PROBE, train_items=n)


def test_group_overlap_is_refused() -> None:
    def checked(changed: list[TaskItem], **options: object) -> list[TaskItem]:
        source = MadeUp()
        source.items = lambda: changed
        return task(source, **options).items()

    items = MadeUp().items()
    torn = [dataclasses.replace(items[0], group="x"), dataclasses.replace(items[-1], group="x"), *items[1:-1]]
    with pytest.raises(
        LeakError, match="made/up: each tune must lie in one split, got 1 that do not, such as 'x' in test and train"
    ):
        checked(torn, group="tune")
    assert len(checked(torn, may_share=(("test", "train"),))) == 150
    with pytest.raises(LeakError, match="each item must occur once, got 'i149' 2 times"):
        checked([*items, items[0]])
    with pytest.raises(ValueError, match="split must be one of train, valid, test, got 'dev' of 'i149'"):
        checked([dataclasses.replace(items[0], split="dev")])
    with pytest.raises(ValueError, match="got none in valid"):
        checked([item for item in items if item.split != "valid"])
    with pytest.raises(ValueError, match="got none in train and valid and test"):
        checked([])


def test_values_of_items_average_to_the_score() -> None:
    for kind in KINDS:
        source = MadeUp(kind)
        result = evaluate(task(source), source.features(), PROBE, seeds=(3, 4))
        assert [seed.seed for seed in result.seeds] == [3, 4]
        for seed in result.seeds:
            assert list(seed.scores) == list(task(source).metrics)
            for metric, score in seed.scores.items():
                values = result.item_values(metric, seed)
                assert values.shape == (37,) and values.mean() == pytest.approx(score, rel=1e-12)
        assert result.spread(task(source).main_metric) == 0.0  # the linear probe has no randomness
        names = [result.names(target) for target in result.targets]
        assert any(";" in name for name in names) == (kind == "multi-label")
        assert set(";".join(names).split(";")) - {""} == set(source.names())


def test_pooling() -> None:
    latents = np.arange(12.0).reshape(2, 1, 6)
    np.testing.assert_array_equal(pool(latents, 1.0), [[5.5]])
    np.testing.assert_array_equal(pool(latents, 1.0, clip_seconds=2.5), [[3.5, 5.5, 7.5]])  # 2.5 s: 2 frames
    np.testing.assert_allclose(pool(latents, 1.0, pooling="mean+std"), [[5.5], [np.arange(6).std()]])
    rng = np.random.default_rng(0)
    for frames in range(1, 40):
        clips = pool(np.ones((1, 3, frames)), 4.0, clip_seconds=2.0)
        assert clips.shape == (3, -(-frames // 8))
    long = rng.standard_normal((1, 3, 21))
    sizes = [7, 7, 7]
    np.testing.assert_allclose((pool(long, 4.0, clip_seconds=2.0) * sizes).sum(axis=1), long[0].sum(axis=1))
    with pytest.raises(ValueError, match=r"\(streams, dim, frames\), got shape \(2, 0, 3\)"):
        pool(np.zeros((2, 0, 3)), 1.0)


def test_bad_input() -> None:
    source = MadeUp()
    with pytest.raises(ValueError, match=r"kind must be one of single-label, key, multi-label, .*, got 'lyrics'"):
        Task(name="x", kind="lyrics", source=source)
    with pytest.raises(ValueError, match="pooling must be one of mean, mean"):
        task(source, pooling="max")
    with pytest.raises(ValueError, match=r"^features must hold items of the train split, got none of 76"):
        evaluate(task(source), {}, PROBE)
    with pytest.raises(ValueError, match=r"features of 'i001' must have shape \(8, clips\), got \(7, 1\)"):
        evaluate(task(source), {**source.features(), "i001": np.zeros((7, 1))}, PROBE)
    with pytest.raises(ValueError, match="features of 'i001' must be finite, got 8 that are not"):
        evaluate(task(source), {**source.features(), "i001": np.full((8, 1), np.nan)}, PROBE)
    with pytest.raises(ValueError, match=r"label of 'i\d+' must be one of a, b, got \['c'\]"):
        evaluate(task(source, labels=("a", "b")), source.features(), PROBE)


def test_a_result_is_short_in_print_and_long_as_a_frame() -> None:
    source = MadeUp()
    result = evaluate(task(source), source.features(), PROBE, seeds=(0, 1))
    assert repr(result).startswith("Result(made/up, LinearProbe: accuracy ") and len(repr(result)) < 150
    frame = result.to_frame()
    assert list(frame.columns) == ["metric", "seed", "value", "ci_low", "ci_high"] and len(frame) == 4
    assert frame[frame.metric == "accuracy"].value.mean() == result.mean("accuracy")


class _Wide(Mapping[str, np.ndarray]):
    """The features of a made-up source among many of noise, made whenever they are asked for."""

    def __init__(self, source: MadeUp, dim: int) -> None:
        self._features, self._dim = source.features(), dim

    def __getitem__(self, item: str) -> np.ndarray:
        rng = np.random.default_rng(int(item[1:]))
        return np.concatenate([self._features[item], rng.standard_normal((self._dim - 8, 1))]).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


def test_large_features_of_a_task_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source, dim = MadeUp(n=2000), 8192
    monkeypatch.setattr(selection, "LARGE", 2**20)
    monkeypatch.setattr(selection, "BLOCK", 2**18)
    monkeypatch.setattr(large, "_AXES", 16)
    probe = LinearProbe(l2=(1.0,))
    small = dict(_Wide(source, 512))
    evaluate(task(source), small, probe, seeds=(0,))  # what is loaded once
    held = restart_peak()
    result = evaluate(task(source), _Wide(source, dim), probe, seeds=(0,))
    assert peak_memory() - held < 1.5 * 2000 * dim * 4
    assert len(result.items) == 500


@pytest.mark.parametrize("kind", KINDS)
def test_large_features_give_the_scores_of_others(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = MadeUp(kind, unlabelled=("i003", "i149"))
    features = {item: values.astype(np.float32) for item, values in source.features(clips=2).items()}
    whole = evaluate(task(source), features, PROBE, seeds=(0,))
    monkeypatch.setattr(selection, "LARGE", 300)
    monkeypatch.setattr(selection, "BLOCK", 100)
    blocks = evaluate(task(source), features, PROBE, seeds=(0,))
    np.testing.assert_allclose(blocks.seeds[0].logits, whole.seeds[0].logits, atol=5e-2)
    assert blocks.failures == whole.failures == (("i149", "no usable label"),)
    assert blocks.note == whole.note and "1 training items were left out" in whole.note
    assert blocks.seeds[0].scores == pytest.approx(whole.seeds[0].scores, abs=1e-3)
