"""Two sets of inputs are called different when they are, and not when they are of one distribution."""

import re

import numpy as np
import pytest
import torch

from pytest_quant.subject.shift.drawn import SAMPLES, drawn
from pytest_quant.subject.shift.kolmogorov import distances, kolmogorov_smirnov
from pytest_quant.subject.shift.likeness import likeness
from pytest_quant.subject.shift.shift import shift_between
from pytest_quant.subject.shift.traits import traits_of

MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ((0.5, 0.4, 0.3), (0.22, 0.23, 0.24)))


def photos(seed, samples=300):
    """[samples, 3, 8, 8] in 0 to 1, with a color and a contrast of their own."""
    generator = torch.Generator().manual_seed(seed)
    color = MEAN + 0.12 * torch.randn(samples, 3, 1, 1, generator=generator)
    contrast = 0.1 + 0.1 * torch.rand(samples, 1, 1, 1, generator=generator)
    noise = torch.randn(samples, 3, 8, 8, generator=generator)
    return (color + contrast * noise).clamp(0, 1)


def table(seed, samples=300):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 5, generator=generator) * torch.tensor([1, 1, 2, 1, 1])


def ids(seed, samples=300, vocabulary=2000, first=5, length=24):
    """Texts of a vocabulary in which a few ids are common; the end is padded with 0."""
    random = np.random.default_rng(seed)
    rows = np.zeros((samples, length), int)
    for row in rows:
        size = random.integers(4, length)
        row[:size] = first + np.minimum(random.zipf(1.3, size), vocabulary - 1)
    return torch.tensor(rows)


def said(tuned, judged):
    sets = (traits_of(drawn(each, "data"), SAMPLES) for each in (tuned, judged))
    shift = shift_between(*sets)
    return None if shift is None else likeness(shift, "calibration inputs")


def batches(tensor, form=lambda x: x):
    return [(form(part), None) for part in tensor.split(32)]


def normal(x):
    return (x - MEAN) / STD


def bordered(x):
    made = torch.zeros_like(x)
    made[..., 3:-3, 3:-3] = x[..., 3:-3, 3:-3]
    return made


IMAGES = {
    "not normalised": (lambda x: x, normal, "span 0 to 1, eval inputs -2.3 to 2.9: not normalised?"),
    "twice": (lambda x: normal(normal(x)), normal, "normalised twice?"),
    "bytes": (lambda x: 255 * x, normal, "span 0 to 255, eval inputs -2.3 to 2.9: not normalised (0"),
    "whole bytes": (lambda x: (255 * x).byte(), lambda x: x, "0 to 255 in place of 0 to 1?"),
    "normalised alone": (normal, lambda x: x, "normalised, which eval inputs are not?"),
    "scale": (lambda x: 0.1 * x, lambda x: x, "span 0 to 0.1, eval inputs 0 to 1: 0.1 times the"),
    "colors": (lambda x: x.flip(1), lambda x: x, "channels in another order (RGB and BGR)?"),
    "zeros": (lambda x: 0 * x, normal, "are all 0, eval inputs span"),
    "border": (bordered, lambda x: x, "padded with a constant?"),
    "inverted": (lambda x: 1 - x, lambda x: x, "inverted?"),
    "missing": (lambda x: torch.where(x > 0.9, float("nan"), x), lambda x: x, "NaN or infinity"),
    "again and again": (lambda x: x[:2].repeat(150, 1, 1, 1), lambda x: x, "only 2 of 192"),
    "a color left out": (lambda x: x * torch.tensor([1.0, 1, 0]).view(3, 1, 1), lambda x: x,
                         "is 0 throughout: left out?"),
    "unread": (lambda x: torch.where(torch.arange(len(x)).view(-1, 1, 1, 1) % 4 > 0, 1.0, x),
               lambda x: x, "are one value throughout"),
}  # fmt: skip
FORMS = {
    "tensors": lambda x: x,
    "dicts": lambda x: {"pixel_values": x, "mask": torch.ones(len(x), 4, dtype=torch.long)},
    "tuples": lambda x: (x, torch.ones(len(x))),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fault", IMAGES)
def test_a_fault_of_images_is_found_and_named_in_any_form(fault, form):
    tune, judge, words = IMAGES[fault]
    sets = batches(tune(photos(1)), FORMS[form]), batches(judge(photos(2)), FORMS[form])
    sentence = said(*sets)
    assert sentence is not None
    if form != "dicts":  # where the input's name stands between the words
        assert words in sentence


@pytest.mark.parametrize("form", FORMS)
def test_images_of_one_distribution_are_alike_in_any_form(form):
    for seed in range(10):
        sets = (batches(photos(seed + k), FORMS[form]) for k in (100, 200))
        assert said(*sets) is None


def test_the_input_that_differs_is_named():
    tuned, judged = batches(255 * photos(1), FORMS["dicts"]), batches(photos(2), FORMS["dicts"])
    assert said(tuned, judged).startswith("calibration inputs pixel_values span 0 to 255")


def test_flips_crops_and_light_are_no_other_distribution():
    for seed in range(10):
        tuned = photos(seed + 100).flip(3).roll((1, -1), (2, 3))
        light = torch.empty(len(tuned), 1, 1, 1).uniform_(0.8, 1.2)
        assert said(batches(tuned * light), batches(photos(seed + 200))) is None


ROWS = {
    "not standardised": (lambda x: 40 + 12 * x, "not normalised?"),
    "twice": (lambda x: (x - 40) / 12, "normalised twice, or not at all?"),
    "zeros": (lambda x: 0 * x, "are all 0"),
    "scale": (lambda x: 0.01 * x, "times the scale?"),
    "one column": (lambda x: torch.cat([x[:, :4], 30 + x[:, 4:]], 1), "in channel 4"),
}


@pytest.mark.parametrize("fault", ROWS)
def test_a_fault_of_a_table_is_found(fault):
    tune, words = ROWS[fault]
    sentence = said(batches(tune(table(1))), batches(table(2)))
    assert words in sentence or (fault == "one column" and "span" in sentence)


def test_tables_of_one_distribution_are_alike():
    for seed in range(20):
        assert said(batches(table(seed + 100)), batches(table(seed + 200))) is None


TEXTS = {
    "permuted": lambda x: torch.where(x > 0, 2010 - x, x),
    "larger": lambda x: torch.where(x > 0, x + 30_000, x),
    "padding alone": lambda x: torch.zeros_like(x),
    "moved": lambda x: torch.where(x > 0, x + 2, x),
}


def as_texts(x):
    return {"input_ids": x, "attention_mask": (x > 0).long()}


@pytest.mark.parametrize("form", [lambda x: x, as_texts], ids=["tensors", "dicts"])
@pytest.mark.parametrize("fault", TEXTS)
def test_another_vocabulary_is_found(fault, form):
    sentence = said(batches(TEXTS[fault](ids(1)), form), batches(ids(2), form))
    assert "vocabulary" in sentence or "padding?" in sentence


def test_another_id_for_padding_is_found():
    padded = batches(torch.where(ids(1) == 0, 1, ids(1)))
    assert said(padded, batches(ids(2))) == (
        "texts of calibration inputs are padded with 1, of eval inputs with 0: another tokenizer?"
    )


def test_texts_that_are_padded_to_another_length_are_alike():
    longer = torch.nn.functional.pad(ids(1), (0, 40))
    assert said(batches(longer, as_texts), batches(ids(2), as_texts)) is None


def test_sets_sorted_by_another_key_are_alike():
    one, other = photos(1, 600), photos(2, 600)
    by_light = batches(one[one.mean((1, 2, 3)).argsort()])
    assert said(by_light, batches(other[other[:, 0].std((1, 2)).argsort()])) is None


def test_codes_of_categories_are_compared_by_column():
    def codes(seed, by=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([torch.randint(4, (300,), generator=generator) + by,
                            torch.randint(9, (300,), generator=generator)], 1)  # fmt: skip

    assert said(batches(codes(1)), batches(codes(2))) is None
    assert said(batches(codes(1, by=1)), batches(codes(2))) is not None


def test_texts_in_batches_of_other_sizes_are_alike():
    """There is more padding in larger batches."""
    for seed in range(10):
        one, other = ids(seed + 100), ids(seed + 200)
        tuned = [(as_texts(row[None, : int((row > 0).sum())]), None) for row in one]
        judged = [
            (as_texts(part[:, : int((part > 0).sum(1).max())]), None) for part in other.split(64)
        ]
        assert said(tuned, judged) is None


def test_texts_with_the_same_commonest_ids_are_told_apart_by_how_common_they_are():
    def of_length(low, high, seed):  # an id 5 first, then 6 and 7, then others of 8 to 19
        random = np.random.default_rng(seed)
        rows = []
        for _ in range(300):
            rest = random.integers(8, 20, random.integers(low, high))
            rows.append(torch.from_numpy(np.array([[5, 6, 7, *rest]])))
        return [(row, None) for row in rows]

    sentence = said(of_length(2, 4, seed=1), of_length(9, 12, seed=2))
    assert re.search(
        r"id [567] makes up 1\d\.\d % of a text of calibration inputs, \d\.\d % of eval", sentence
    )
    assert "commonest" not in sentence


def test_texts_as_strings_are_compared_too():
    texts = [f"the cat sat on mat {i} of {i * i}" for i in range(200)]
    assert said([(texts[:90], None), (texts[90:], None)], [(texts, None)]) is None
    assert "vocabulary" in said([([each.upper() for each in texts], None)], [(texts, None)])


def test_sequences_of_several_lengths_are_compared():
    from torch.nn.utils.rnn import pack_sequence

    def packed(scale):
        return [
            (pack_sequence([scale * torch.randn(n, 3) for n in (9, 7, 4)]), None) for _ in range(60)
        ]

    torch.manual_seed(0)
    assert said(packed(1.0), packed(1.0)) is None
    assert said(packed(9.0), packed(1.0)) is not None


def test_few_samples_prove_nothing():
    assert said(batches(photos(1, 3)), batches(photos(2, 3))) is None


def test_kolmogorov_smirnov_is_scipys_up_to_the_correction_for_few_samples():
    from scipy.stats import ks_2samp, kstwobign

    random = np.random.default_rng(0)
    one, other = random.normal(size=(150, 8)), random.normal(0.2, 1.1, size=(200, 8))
    expected = ks_2samp(one, other, method="asymp")
    assert np.allclose(distances(one, other), expected.statistic)
    root = np.sqrt(150 * 200 / 350)
    corrected = kstwobign.sf((root + 0.12 + 0.11 / root) * expected.statistic)
    assert np.allclose(kolmogorov_smirnov(one, other), corrected, atol=1e-9)
