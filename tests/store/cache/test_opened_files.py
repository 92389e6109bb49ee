"""Files that code opens when it is called: a changed one is no hit."""

import functools
import json
import os
import time
from pathlib import Path

import pytest
import torch
from builders import ONE_THREAD, batches, toy_subject

from pytest_quant import QuantStageError, Recipe, open_store
from pytest_quant.machine.conditions import Conditions
from pytest_quant.store.cache.cache import Cache
from pytest_quant.variant.kept import BUILD, EVALUATION


def write(path, text):
    """As somebody did a while ago: a file that changes while a run runs is another matter."""
    path.write_text(text)
    os.utime(path, (time.time() - 5,) * 2)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.json"
    write(path, json.dumps({"by": 1.0}))

    def by():
        return json.loads(path.read_text())["by"]

    return path, by


@pytest.fixture
def old(tmp_path):
    """Runs once more, and says what came from the cache: FP32's evaluation, build, evaluation."""

    def runs(recipe, **parts):
        store = open_store(ONE_THREAD, Cache(tmp_path / "cache", ONE_THREAD))
        variant = store.variant(toy_subject(**parts), recipe)
        assert variant.evaluation
        kept = (
            variant.fp32.measured(EVALUATION),
            variant.measured(BUILD),
            variant.measured(EVALUATION),
        )
        return [each.is_old for each in kept]

    return runs


def test_a_file_that_the_metric_reads(table, old):
    path, by = table

    def metric(outputs, targets):
        return ((outputs.argmax(1) == targets).float() * by()).tolist()

    assert old(Recipe("static"), metric=metric) == [False] * 3
    assert old(Recipe("static"), metric=metric) == [True] * 3
    write(path, json.dumps({"by": 0.5}))
    assert not any(old(Recipe("static"), metric=metric))


def test_a_file_that_is_first_read_after_the_first_batch(table, old):
    path, by = table

    def forward(model, inputs):
        outputs = model(inputs)
        return outputs * by() if len(inputs) == 7 else outputs  # the last batch of eval data

    data = [*batches(seed=1), tuple(part[:7] for part in batches(seed=4)[0])]
    given = {"forward": forward, "eval_data": data}
    assert old(Recipe("dynamic"), **given) == [False] * 3
    assert old(Recipe("dynamic"), **given) == [True] * 3
    write(path, json.dumps({"by": -1.0}))
    assert old(Recipe("dynamic"), **given) == [False, True, False]
    assert old(Recipe("dynamic"), **given) == [True] * 3


def test_a_file_that_the_loss_reads_is_the_builds_alone(table, old):
    path, by = table

    def loss(outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets) * by()

    given = {"loss": loss, "train_data": batches(seed=3)}
    recipe = Recipe("qat", epochs=1)
    assert old(recipe, **given) == [False] * 3
    assert old(recipe, **given) == [True] * 3
    write(path, json.dumps({"by": 0.0}))
    assert old(recipe, **given)[:2] == [True, False]


def test_another_folder_costs_no_hit_and_another_checkout_neither(tmp_path, monkeypatch, old):
    def run_in(repo, cwd):
        monkeypatch.chdir(cwd)

        def metric(outputs, targets):
            return (outputs.argmax(1) == targets).float() * float(Path(repo, "by").read_text())

        return old(Recipe("dynamic"), metric=metric)

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "by", "1.0")
    monkeypatch.chdir(tmp_path / "one")
    assert run_in(".", tmp_path / "one") == [False] * 3
    assert run_in(".", tmp_path / "two") == [True] * 3
    (tmp_path / "one").rename(tmp_path / "gone")
    assert run_in(".", tmp_path / "two") == [True] * 3
    write(tmp_path / "two" / "by", "0.5")
    assert not any(run_in(".", tmp_path / "two"))


def test_a_file_that_was_not_there_and_is_now(tmp_path, old):
    path = tmp_path / "weights.json"

    def metric(outputs, targets):
        try:
            by = json.loads(path.read_text())
        except FileNotFoundError:
            by = 1.0
        return ((outputs.argmax(1) == targets).float() * by).tolist()

    assert old(Recipe("dynamic"), metric=metric) == [False] * 3
    assert old(Recipe("dynamic"), metric=metric) == [True] * 3
    write(path, "0.5")
    assert not any(old(Recipe("dynamic"), metric=metric))


def test_a_file_that_the_metric_writes_itself_costs_no_hit(tmp_path, old):
    path = tmp_path / "results.json"

    def metric(outputs, targets):
        path.write_text(json.dumps(outputs.argmax(1).tolist()))
        found = torch.tensor(json.loads(path.read_text()))
        return (found == targets).float().tolist()

    assert old(Recipe("dynamic"), metric=metric) == [False] * 3
    assert old(Recipe("dynamic"), metric=metric) == [True] * 3


def test_a_file_that_changes_while_it_runs_is_not_kept(table, old):
    path, by = table

    def metric(outputs, targets):
        factor = by()
        with path.open("r+") as file:
            file.write(json.dumps({"by": 0.5}))
        return ((outputs.argmax(1) == targets).float() * factor).tolist()

    for _ in range(2):
        assert not any(old(Recipe("dynamic"), metric=metric))


class OfFiles(torch.utils.data.Dataset):
    """Samples in files, of which the first passes show half of the values."""

    def __init__(self, folder):
        self.paths = []
        for number, (x, y) in enumerate(zip(*batches(seed=3)[0], strict=True)):
            self.paths.append(folder / f"{number}.pt")
            torch.save((x, y), self.paths[-1])
        self.reads = 0

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        x, y = torch.load(self.paths[index])
        self.reads += 1
        return (x if self.reads > 3 * len(self) else x.where(torch.arange(8) < 4, 0.0)), y


def test_what_a_later_epoch_reads_of_a_training_file(tmp_path, old):
    def data():
        return torch.utils.data.DataLoader(dataset, batch_size=8)

    dataset = OfFiles(tmp_path)
    recipe = Recipe("qat", epochs=4)
    assert old(recipe, train_data=data())[1] is False
    dataset.reads = 0
    assert old(recipe, train_data=data())[1] is True
    x, y = torch.load(dataset.paths[3])
    x[4:] += 1  # which the first pass does not show
    torch.save((x, y), dataset.paths[3])
    dataset.reads = 0
    assert old(recipe, train_data=data())[1] is False


def test_eval_files_count_by_their_samples(tmp_path, old):
    dataset = OfFiles(tmp_path)
    dataset.reads = 3 * len(dataset)
    data = torch.utils.data.DataLoader(dataset, batch_size=8)
    assert old(Recipe("dynamic"), eval_data=data) == [False] * 3
    torch.save((*torch.load(dataset.paths[3]),), dataset.paths[3])
    with dataset.paths[3].open("ab") as file:
        file.write(b" ")  # another file, the same sample
    assert old(Recipe("dynamic"), eval_data=data) == [True] * 3


def by_name(outputs, targets):
    by = float(Path("by").read_text())
    return torch.nn.functional.cross_entropy(outputs, targets) * by


def by_place(outputs, targets):
    by = float(Path.cwd().joinpath("by").read_text())
    return torch.nn.functional.cross_entropy(outputs, targets) * by


@pytest.mark.parametrize("loss", [by_name, by_place])
def test_the_files_of_a_second_checkout_that_is_there_beside_the_first(tmp_path, monkeypatch, loss):
    def run_in(repo):
        monkeypatch.chdir(repo)
        conditions = Conditions(threads=1, root=repo)
        store = open_store(conditions, Cache(tmp_path / "cache", conditions))
        subject = toy_subject(loss=loss, train_data=batches(seed=3))
        return store.variant(subject, Recipe("qat", epochs=1)).measured(BUILD).is_old

    one, two = tmp_path / "one", tmp_path / "two"
    for repo, text in ((one, "1.0"), (two, "0.0")):
        repo.mkdir()
        write(repo / "by", text)
    assert [run_in(one), run_in(one)] == [False, True]
    assert [run_in(two), run_in(two)] == [False, True]
    (two / "by").unlink()
    with pytest.raises(QuantStageError, match="No such file"):
        run_in(two)


def test_another_folder_of_the_same_checkout_costs_no_hit(tmp_path, monkeypatch):
    path = tmp_path / "by"

    def metric(outputs, targets):
        return (outputs.argmax(1) == targets).float() * float(path.read_text())

    def run_in(folder):
        monkeypatch.chdir(folder)
        conditions = Conditions(threads=1, root=tmp_path)
        store = open_store(conditions, Cache(tmp_path / "cache", conditions))
        fp32 = store.fp32(toy_subject(metric=metric))
        assert fp32.evaluation
        return fp32.measured(EVALUATION).is_old

    write(path, "1.0")
    (tmp_path / "tests").mkdir()
    assert [run_in(tmp_path), run_in(tmp_path / "tests")] == [False, True]


def remembering(path, cache):
    """A metric that reads a file when it is first called, as one that many tests share."""

    @cache
    def by(name):
        return json.loads(path.read_text())[name]

    def metric(outputs, targets):
        return ((outputs.argmax(1) == targets).float() * by("by")).tolist()

    return metric, by


@pytest.mark.parametrize("cache", [functools.cache, functools.lru_cache(maxsize=4)])
def test_a_file_that_a_function_has_read_before_and_remembers(table, old, cache):
    path, _ = table

    def run():
        metric, by = remembering(path, cache)
        by("by")  # as a test of the repo's own does
        return old(Recipe("dynamic"), metric=metric)

    assert run() == [False] * 3
    assert run() == [True] * 3
    write(path, json.dumps({"by": 0.5}))
    assert run() == [False, True, False]


def test_what_a_function_remembers_of_each_batch_costs_no_hit_for_long(old):
    def run():
        @functools.cache
        def scored(*classes):
            return sum(classes)

        def metric(outputs, targets):
            assert scored(*outputs.argmax(1).tolist()) is not None
            return (outputs.argmax(1) == targets).float()

        return old(Recipe("dynamic"), metric=metric)

    assert run() == [False] * 3
    assert run()[0] is True
    assert run() == [True] * 3
