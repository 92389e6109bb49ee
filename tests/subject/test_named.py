"""Named: what code reads by whatever way to a name is a part of its fingerprint, and no more than that."""

import builtins
import dataclasses
import functools
import random
import subprocess
import sys
import types
from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pytest_quant.subject.fingerprint import known_fingerprint


class Scaling:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x * self.by


@pytest.fixture
def module(monkeypatch):
    """Makes a loaded module of source and of globals that it is given."""

    def make(source="", name="named_here", **given):
        made = types.ModuleType(name)
        made.__file__ = f"/nowhere/{name}.py"
        vars(made).update(given)
        monkeypatch.setitem(sys.modules, name, made)
        exec(compile(source, made.__file__, "exec"), vars(made))
        return made

    return make


READS = {
    "globals": "def f(): return globals()['S']",
    "globals by a name that is made": "def f(n='S'): return globals()[n]",
    "eval": "def f(): return eval('S * 2')",
    "another module's": "import helper\ndef f(): return getattr(helper, 'S')",
    "another module's by a name that is made": "import helper\ndef f(n='S'): return getattr(helper, n)",
    "another module's dict": "import helper\ndef f(n='S'): return helper.__dict__[n]",
    "vars of another module": "import helper\ndef f(n='S'): return vars(helper)[n]",
    "an import where it runs": "def f():\n  import helper\n  return helper.S",
    "an import of one name where it runs": "def f():\n  from helper import S\n  return S",
    "a loaded module": "import sys\ndef f(): return sys.modules['helper'].S",
    "a module that an object holds": "import helper\nheld = [helper]\ndef f(): return held[0].S",
}


@pytest.mark.parametrize("what", READS)
def test_a_global_by_whatever_way(module, what):
    found = []
    for value in (1.0, 1.0, 2.0):
        module(name="helper", S=value)
        own = {} if "helper" in READS[what] else {"S": value}
        found.append(known_fingerprint(module(READS[what], **own).f))
    assert found[0] == found[1] is not None
    assert found[0] != found[2]


def test_a_name_that_was_put_among_pythons_own(module, monkeypatch):
    found = []
    for value in (1.0, 1.0, 2.0):
        monkeypatch.setattr(builtins, "PUT_HERE", value, raising=False)
        found.append(known_fingerprint(module("def f(): return PUT_HERE * max(1, 2)").f))
    assert found[0] == found[1] is not None
    assert found[0] != found[2]


OF_ENVIRONMENT = {
    "subscript": "import os\ndef f(): return os.environ['NAMED']",
    "get": "import os\ndef f(): return os.environ.get('NAMED', 'no')",
    "getenv": "import os\ndef f(): return os.getenv('NAMED')",
    "in": "import os\ndef f(): return 'NAMED' in os.environ",
    "an alias": "from os import getenv as g\ndef f(): return g('NAMED')",
    "an import where it runs": "def f():\n  from os import environ\n  return environ['NAMED']",
    "a helper": "import os\ndef e(n): return os.environ.get(n)\ndef f(): return e('NAMED')",
    "a name that is made": "import os\ndef f(p='NA'): return os.environ[p + 'MED']",
    "a name that is a global": "import os\nN = 'NAMED'\ndef f(): return os.environ[N]",
    "the whole": "import os\nE = os.environ\ndef f(): return E['NAMED']",
}


@pytest.mark.parametrize("what", OF_ENVIRONMENT)
def test_a_variable_of_the_environment(module, monkeypatch, what):
    found = []
    for value in ("1", "1", "2"):
        monkeypatch.setenv("NAMED", value)
        monkeypatch.setenv("PYTEST_CURRENT_TEST", str(len(found)))  # of each test another one
        found.append(known_fingerprint(module(OF_ENVIRONMENT[what]).f))
    assert found[0] == found[1] is not None
    assert found[0] != found[2]


@pytest.mark.parametrize("what", ["subscript", "get", "getenv", "in"])
def test_of_names_that_stand_there_no_others_count(module, monkeypatch, what):
    before = known_fingerprint(module(OF_ENVIRONMENT[what]).f)
    monkeypatch.setenv("NAMED_ALSO", "1")
    assert known_fingerprint(module(OF_ENVIRONMENT[what]).f) == before


PUT = {
    "a constant": lambda value: value,
    "a partial": lambda value: functools.partial(
        torch.nn.functional.leaky_relu, negative_slope=value
    ),
    "a class": lambda value: type("Put", (), {"by": value}),
    "an object of the user's": lambda value: Scaling(value),
    "another one of its own": lambda value: F.relu if value == 1 else F.relu6,
    "another one of its own in C": lambda value: torch.relu if value == 1 else torch.sigmoid,
}


@pytest.mark.parametrize("what", PUT)
def test_what_was_put_into_an_installed_module(module, monkeypatch, what):
    found = []
    for value in (1.0, 1.0, 2.0):
        monkeypatch.setattr(torch.nn.functional, "put_here", PUT[what](value), raising=False)
        code = "import torch.nn.functional as F\ndef f(): return F.put_here"
        found.append(known_fingerprint(module(code).f))
    assert found[0] == found[1] is not None
    assert found[0] != found[2]


def test_what_was_put_into_an_installed_class_or_its_base(monkeypatch):
    found = [known_fingerprint(torch.nn.GELU())]
    for owner in (torch.nn.GELU, torch.nn.Module):
        monkeypatch.setattr(owner, "put_here", 2.0, raising=False)
        found.append(known_fingerprint(torch.nn.GELU()))
    assert len(set(found)) == 3


class Private:
    __slots__ = ("__by", "name")

    def __init__(self, by):
        self.__by, self.name = by, "n"


class Marked(set):
    by = 1


def marked(by):
    made = Marked([1])
    made.by = by
    return made


def graph(by):
    made = torch.fx.Graph()
    made.output(made.call_function(_scaled(by), (made.placeholder("x"),)))
    return torch.fx.GraphModule(torch.nn.Module(), made)


def _scaled(by):
    def scaled(x):
        return x * by

    return scaled


def hooked(by):
    torch.manual_seed(0)
    made = torch.nn.Linear(2, 2)
    made.register_full_backward_hook(lambda module, given, out: (given[0] * by,))
    return made


def dispatched(by):
    @functools.singledispatch
    def of(x):
        return x

    of.register(int, _scaled(by))
    of(1)
    return of


def lazy(by):
    class Lazy:
        @functools.cached_property
        def half(self):
            return by / 2

    return Lazy()


def remembering(by, cache):
    @cache
    def same(x):
        return x

    same(by)
    same(3)
    return same


def added(by):
    made = torch.zeros(2)
    made.by = by
    return made


def fields(by):
    names = ("a", "b") if by == 1 else ("b", "a")
    return np.zeros(2, dtype=[(name, "f4") for name in names])


HIDDEN = {
    "a generator of Python's": random.Random,
    "a private slot": Private,
    "an attribute of a set": marked,
    "a mask": lambda by: np.ma.array([1, 2], mask=[by == 1, False]),
    "names of fields": fields,
    "what a class made of fields has": lambda by: dataclasses.make_dataclass(
        "Made", [("a", float)], namespace={"by": by}
    ),
    "a function in a graph": graph,
    "a hook on gradients": hooked,
    "one of several functions": dispatched,
    "a cached property": lazy,
    "what a function remembers": lambda by: remembering(by, functools.cache),
    "the last that a function remembers": lambda by: remembering(by, functools.lru_cache(2)),
    "how many a deque holds": lambda by: deque([1], maxlen=by),
    "an attribute of a tensor": added,
}


@pytest.mark.parametrize("what", HIDDEN)
def test_what_is_not_among_the_attributes(what):
    make = HIDDEN[what]
    assert known_fingerprint(make(1)) == known_fingerprint(make(1)) is not None
    assert known_fingerprint(make(1)) != known_fingerprint(make(2))


def recurrent():
    torch.manual_seed(0)
    return torch.nn.LSTM(4, 4)


WORKED = """
import torch
from pytest_quant.subject.fingerprint import known_fingerprint

def worked():
    data = torch.utils.data.TensorDataset(torch.ones(4, 2))
    made = torch.utils.data.DataLoader(data, num_workers=1, persistent_workers=True)
    list(made)
    return made

if __name__ == "__main__":
    assert known_fingerprint(worked()) == known_fingerprint(worked()) is not None
"""


ORDINARY = {
    "a recurrent layer": recurrent,
    "a function with gradients of its own": lambda: type(
        "Own", (torch.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x)}
    ),
}


@pytest.mark.parametrize("what", ORDINARY)
def test_what_many_have_is_known(what):
    assert known_fingerprint(ORDINARY[what]()) == known_fingerprint(ORDINARY[what]()) is not None


def test_a_loader_whose_workers_go_on_is_known(tmp_path):
    """In a process of its own: workers took down one that had loaded other tests' runtimes."""
    script = tmp_path / "worked.py"
    script.write_text(WORKED)
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)


def test_an_operator_of_pytorchs_is_known_by_its_name(module):
    code = "import torch\ndef f(x): return torch.ops.aten.{}(x)"
    for name in ("relu", "sigmoid"):
        getattr(torch.ops.aten, name)(torch.ones(1))
    found = [known_fingerprint(module(code.format(n)).f) for n in ("relu", "relu", "sigmoid")]
    assert found[0] == found[1] is not None
    assert found[0] != found[2]
