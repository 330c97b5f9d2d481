"""What a key reaches: for each way to change a result the key is another, for each other change it is the same."""

import copy
import importlib
import re
import subprocess
import sys

import pytest
import torch

from workbook.store import fingerprint, key

# A module `book` with a function f, after a module `beside` if there is a line `===`; «before|after» is the change.
CHANGES = {
    "constant": "def f(): return «1|2»",
    "constant in a method": """
        class Net:
            def run(self): return «1|2»
        def f(): return Net().run()""",
    "base class": """
        class Base:
            def run(self): return «1|2»
        class Net(Base): pass
        def f(): return Net().run()""",
    "base of a base": """
        class Base:
            def run(self): return «1|2»
        class Middle(Base): pass
        class Net(Middle): pass
        def f(): return Net().run()""",
    "a base made from another": """
        class One: rate = 1
        class Two: rate = 2
        class Net(«One|Two»): pass
        def f(): return Net().rate""",
    "order of bases": """
        class One: rate = 1
        class Two: rate = 2
        class Net(«One, Two|Two, One»): pass
        def f(): return Net().rate""",
    "class attribute": """
        class Net: rate = «1|2»
        def f(): return Net.rate""",
    "private class attribute": """
        class Net:
            __rate = «1|2»
            def run(self): return self.__rate
        def f(): return Net().run()""",
    "special attribute of installed functions": """
        class Net(list): __call__ = «list.append|list.remove»
        def f():
            found = Net([1, 2])
            found(2)
            return len(found)""",
    "special attribute": """
        class Net: __rate__ = «1|2»
        def f(): return Net.__rate__""",
    "slots": """
        class Net:
            __slots__ = ("a", «"b"|"c"»)
        def f(): return Net.__slots__""",
    "metaclass": """
        class Meta(type):
            def __call__(cls): return «1|2»
        class Net(metaclass=Meta): pass
        def f(): return Net()""",
    "metaclass's property": """
        class Meta(type):
            @property
            def rate(cls): return «1|2»
        class Net(metaclass=Meta): pass
        def f(): return Net.rate""",
    "class decorator": """
        def rated(cls):
            cls.rate = «1|2»
            return cls
        @rated
        class Net: pass
        def f(): return Net.rate""",
    "default": "def f(x=«1|2»): return x",
    "keyword default": "def f(*, x=«1|2»): return x",
    "kind of argument": "def f(«*|**»x): return str(x)",
    "default of what is called": """
        def g(x, y=«1|2»): return x + y
        def f(): return g(1)""",
    "closure": """
        def make(k):
            def inner(): return k
            return inner
        f = make(«1|2»)""",
    "nested function": """
        def f():
            def g(): return «1|2»
            return g()""",
    "nested class": """
        def f():
            class Net:
                rate = «1|2»
            return Net.rate""",
    "generator": """
        def g():
            yield «1|2»
        def f(): return list(g())""",
    "comprehension": "def f(): return [«1|2» * x for x in range(3)]",
    "what a try covers": """
        def g(): raise ValueError
        def inner():
            x = 1
            «try:
                g()|g()
            try:»
                x = 2
            except ValueError: x = 3
            return x
        def f():
            try: return inner()
            except ValueError: return 4""",
    "decorator's body": """
        def twice(function):
            def wrapped(): return «2|3» * function()
            return wrapped
        @twice
        def f(): return 1""",
    "decorator's body with wraps": """
        def twice(function):
            @functools.wraps(function)
            def wrapped(): return «2|3» * function()
            return wrapped
        @twice
        def f(): return 1""",
    "decorator's argument": """
        def times(k):
            def wrap(function):
                @functools.wraps(function)
                def wrapped(): return k * function()
                return wrapped
            return wrap
        @times(«2|3»)
        def f(): return 1""",
    "function under a decorator": """
        def twice(function):
            @functools.wraps(function)
            def wrapped(): return 2 * function()
            return wrapped
        @twice
        def f(): return «1|2»""",
    "class as decorator": """
        class Times:
            def __init__(self, function): functools.update_wrapper(self, function)
            def __call__(self): return «2|3» * self.__wrapped__()
        @Times
        def f(): return 1""",
    "class as decorator that hides the function": """
        class Times:
            def __init__(self, function):
                functools.update_wrapper(self, function)
                del self.__wrapped__
                self.function = function
            def __call__(self): return 2 * self.function()
        @Times
        def f(): return «1|2»""",
    "installed decorator": """
        @torch.«no_grad|enable_grad»()
        def f(): return torch.is_grad_enabled()""",
    "installed decorator by its name": """
        @contextlib.«contextmanager|asynccontextmanager»
        def g(): yield 1
        def f(): return hasattr(g(), "__enter__")""",
    "argument of an installed decorator": """
        @torch.set_grad_enabled(«True|False»)
        def g(): return torch.is_grad_enabled()
        def f(): return g()""",
    "argument of a context that decorates": """
        @contextlib.contextmanager
        def rated(a):
            RATES.append(a)
            yield
        RATES = []
        @rated(«1|2»)
        def g(): return RATES[-1]
        def f(): return g()""",
    "property": """
        class Net:
            @property
            def rate(self): return «1|2»
        def f(): return Net().rate""",
    "cached property": """
        class Net:
            @functools.cached_property
            def rate(self): return «1|2»
        def f(): return Net().rate""",
    "static method": """
        class Net:
            @staticmethod
            def run(): return «1|2»
        def f(): return Net.run()""",
    "class method": """
        class Net:
            @classmethod
            def run(cls): return «1|2»
        def f(): return Net.run()""",
    "__call__": """
        class Net:
            def __call__(self): return «1|2»
        f = Net()""",
    "attribute of a callable object": """
        class Net:
            def __init__(self, a): self.a = a
            def __call__(self): return self.a
        f = Net(«1|2»)""",
    "bound method": """
        class Net:
            def __init__(self, a): self.a = a
            def run(self): return self.a
        f = Net(«1|2»).run""",
    "partialmethod": """
        class Net:
            def run(self, a): return a
            go = functools.partialmethod(run, «1|2»)
        def f(): return Net().go()""",
    "singledispatch": """
        @functools.singledispatch
        def g(x): return 1
        @g.register
        def _(x: int): return «2|3»
        def f(): return g(1)""",
    "singledispatchmethod": """
        class Net:
            @functools.singledispatchmethod
            def run(self, x): return 1
            @run.register
            def _(self, x: int): return «2|3»
        def f(): return Net().run(1)""",
    "descriptor of ours": """
        class Rate:
            def __init__(self, a): self.a = a
            def __get__(self, instance, owner): return self.a
        class Net: rate = Rate(«1|2»)
        def f(): return Net().rate""",
    "global": """
        RATE = «1|2»
        def f(): return RATE""",
    "global of a nested lambda": """
        RATE = «1|2»
        def f(): return [(lambda: RATE)() for _ in range(2)]""",
    "global through another module": """
        RATE = «1|2»
        ===
        import beside
        def f(): return beside.RATE""",
    "global of another module": """
        RATE = «1|2»
        def g(): return RATE
        ===
        from beside import g
        def f(): return g()""",
    "module imported within the function": """
        def g(): return «1|2»
        ===
        def f():
            from beside import g
            return g()""",
    "name imported within a function, read in a nested one": """
        def g(): return «1|2»
        ===
        def f():
            from beside import g as h
            return (lambda: h())()""",
    "whole module imported within the function": """
        def g(): return «1|2»
        ===
        def f():
            import beside as other
            return other.g()""",
    "whole module imported within the function, by its name": """
        def g(): return «1|2»
        ===
        def f():
            import beside
            return [beside.g() for _ in range(1)]""",
    "getattr of another module": """
        RATE = «1|2»
        def __getattr__(name): return RATE
        ===
        import beside
        def f(): return beside.anything""",
    "dict of functions": """
        TABLE = {"a": lambda: «1|2»}
        def f(): return TABLE["a"]()""",
    "list of lambdas": """
        TABLE = [lambda: 0, lambda: «1|2»]
        def f(): return TABLE[1]()""",
    "partial's argument": """
        def g(a): return a
        f = functools.partial(g, «1|2»)""",
    "partial's keyword": """
        def g(a): return a
        f = functools.partial(g, a=«1|2»)""",
    "partial's function": """
        def g(a): return a + «1|2»
        f = functools.partial(g, 1)""",
    "lru_cache": """
        @functools.lru_cache
        def f(): return «1|2»""",
    "vectorize": """
        f = functools.partial(np.vectorize(lambda x: x + «1|2»), 1)""",
    "dataclass's default": """
        @dataclasses.dataclass
        class Case: a: int = «1|2»
        def f(): return Case().a""",
    "dataclass's default factory": """
        @dataclasses.dataclass
        class Case: a: list = dataclasses.field(default_factory=lambda: [«1|2»])
        def f(): return Case().a""",
    "dataclass's order of fields": """
        @dataclasses.dataclass
        class Case:
            «a|b»: int
            «b|a»: int
        def f(): return Case(1, 2).a""",
    "dataclass's options": """
        @dataclasses.dataclass(eq=«True|False»)
        class Case: a: int
        def f(): return Case(1) == Case(1)""",
    "field's options": """
        @dataclasses.dataclass
        class Case: a: int = dataclasses.field(compare=«True|False»)
        def f(): return Case(1) == Case(2)""",
    "dataclass's value": """
        @dataclasses.dataclass
        class Case: a: int
        CASE = Case(«1|2»)
        def f(): return CASE.a""",
    "dataclass's method": """
        @dataclasses.dataclass
        class Case:
            a: int
            def __eq__(self, other): return «True|False»
        def f(): return Case(1) == Case(1)""",
    "enum's value": """
        class Kind(enum.Enum): A = «1|2»
        def f(): return Kind.A.value""",
    "enum's order": """
        class Kind(enum.Enum):
            «A = 1|B = 2»
            «B = 2|A = 1»
        def f(): return list(Kind)[0].name""",
    "enum's method": """
        class Kind(enum.IntEnum):
            A = 1
            def run(self): return «1|2»
        KIND = Kind.A
        def f(): return KIND.run()""",
    "named tuple's default": """
        class Pair(typing.NamedTuple): a: int = «1|2»
        def f(): return Pair().a""",
    "named tuple's order": """
        class Pair(typing.NamedTuple):
            «a|b»: int
            «b|a»: int
        def f(): return Pair(1, 2).a""",
    "named tuple's method": """
        class Pair(typing.NamedTuple):
            a: int
            def run(self): return «1|2»
        def f(): return Pair(1).run()""",
    "network's weights": """
        NET = nn.Linear(1, 1)
        nn.init.constant_(NET.weight, «1|2»)
        nn.init.zeros_(NET.bias)
        def f(): return NET.weight.item()""",
    "network's plain attribute": """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.gain = «1|2»
            def forward(self, x): return self.gain * x
        NET = Net()
        def f(): return NET(1)""",
    "network's function": """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.act = torch.«tanh|relu»
            def forward(self, x): return self.act(x)
        NET = Net()
        def f(): return NET(torch.ones(1)).item()""",
    "network's forward": """
        class Net(nn.Module):
            def forward(self, x): return «1|2» * x
        NET = nn.Sequential(Net())
        def f(): return NET(1)""",
    "what forward calls": """
        def helper(x): return «1|2» * x
        class Net(nn.Module):
            def forward(self, x): return helper(x)
        NET = nn.Sequential(Net())
        def f(): return NET(1)""",
    "network's class attribute": """
        class Net(nn.Module):
            gain = «1|2»
            def forward(self, x): return self.gain * x
        NET = Net()
        def f(): return NET(1)""",
    "network's layer": """
        NET = nn.Sequential(nn.«ReLU|Tanh»())
        def f(): return NET(torch.ones(1)).item()""",
    "network's forward hook": """
        NET = nn.Identity()
        NET.register_forward_hook(lambda module, inputs, output: «1|2» * output)
        def f(): return NET(1)""",
    "network's forward pre-hook": """
        NET = nn.Sequential(nn.Identity())
        NET[0].register_forward_pre_hook(lambda module, inputs: «1|2» * inputs[0])
        def f(): return NET(1)""",
    "network's mode": """
        NET = nn.Dropout(1.0).«train|eval»()
        def f(): return NET(torch.ones(1)).item()""",
    "network's parametrization": """
        class Times(nn.Module):
            def forward(self, x): return «1|2» * x
        NET = nn.Linear(1, 1)
        nn.init.ones_(NET.weight)
        nn.init.zeros_(NET.bias)
        nn.utils.parametrize.register_parametrization(NET, "weight", Times())
        def f(): return NET.weight.item()""",
    "forward of a parametrized network": """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(1))
            def forward(self, x): return «1|2» * x
        NET = Net()
        nn.utils.parametrize.register_parametrization(NET, "weight", nn.Identity())
        def f(): return NET(1)""",
    "forward of an instance": """
        NET = nn.Identity()
        NET.forward = lambda x: «1|2» * x
        def f(): return NET(1)""",
    "traced graph": """
        class Net(nn.Module):
            def forward(self, x): return «1|2» * x
        NET = torch.fx.symbolic_trace(Net())
        def f(): return NET(1)""",
    "network within a compiled one": """
        class Net(nn.Module):
            def forward(self, x): return «1|2» * x
        NET = nn.Identity()  # as `torch.compile` makes them, which takes seconds
        NET._orig_mod, NET.dynamo_ctx = Net(), threading.Lock()
        def f(): return NET._orig_mod(1)""",
    "autograd function": """
        class Twice(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return «1|2» * x
        def f(): return Twice.apply(torch.ones(1)).item()""",
    "tensor of a class of ours": """
        class Loud(torch.Tensor):
            def loud(self): return «1|2»
        X = torch.ones(1).as_subclass(Loud)
        def f(): return X.loud()""",
    "values of an array": """
        X = np.array([1.0, «1|2»])
        def f(): return X.sum()""",
    "dtype of an array": """
        X = np.ones(2, dtype=«"f4"|"f8"»)
        def f(): return X.dtype""",
    "unit of an array": """
        X = np.zeros(2, dtype=«"M8[s]"|"M8[D]"»)
        def f(): return X.dtype""",
    "shape of a tensor": """
        X = torch.ones(«1, 2|2, 1»)
        def f(): return X.shape""",
    "numpy scalar": """
        X = np.float64(«1|2»)
        def f(): return X""",
    "set": """
        X = {1, «2|3»}
        def f(): return X""",
    "nested dicts": """
        X = {"a": {"b": [1, {"c": «1|2»}]}}
        def f(): return X""",
    "defaultdict": """
        X = collections.defaultdict(lambda: «1|2»)
        def f(): return X["a"]""",
    "deque": """
        X = collections.deque([«1|2»])
        def f(): return X[0]""",
    "date": """
        X = datetime.date(2020, 1, «1|2»)
        def f(): return X""",
    "fraction": """
        X = fractions.Fraction(1, «1|2»)
        def f(): return X""",
    "subclass of a dict": """
        class Table(dict): pass
        X = Table(a=«1|2»)
        def f(): return X["a"]""",
    "subclass of a float": """
        class Rate(float): pass
        X = Rate(«1|2»)
        def f(): return X""",
    "helper beside the notebook": """
        def helper(x):
            return «1|2» * x
        ===
        from beside import helper
        def f(): return helper(1)""",
    "getattr by a literal name": """
        class Net:
            def run(self): return «1|2»
        def f(): return getattr(Net(), "run")()""",
    "monkeypatched method": """
        class Net:
            def run(self): return 0
        Net.run = lambda self: «1|2»
        def f(): return Net().run()""",
    "monkeypatched method of an installed class": """
        fractions.Fraction.run = lambda self: «1|2»
        def f(): return fractions.Fraction(1).run()""",
    "monkeypatched installed function": """
        import colorsys
        colorsys.run = lambda: «1|2»
        def f(): return colorsys.run()""",
    "class made at run time": """
        class Base:
            def run(self): return «1|2»
        Net = type("Net", (Base,), {"__module__": "collections"})
        def f(): return Net().run()""",
    "operator's object": """
        GET = operator.itemgetter(«0|1»)
        def f(): return GET([1, 2])""",
    "operator's method caller": """
        CALL = operator.methodcaller(«"upper"|"lower"»)
        def f(): return CALL("aA")""",
    "compiled pattern": """
        WORD = re.compile("«a|b»")
        def f(): return WORD.findall("ab")""",
    "flags of a compiled pattern": """
        WORD = re.compile("a"«|, re.I»)
        def f(): return WORD.findall("aA")""",
    "method of a compiled pattern": """
        find = re.compile("«a|b»").findall
        def f(): return find("ab")""",
    "object with slots": """
        class Case:
            __slots__ = ("a",)
        CASE = Case()
        CASE.a = «1|2»
        def f(): return CASE.a""",
    "object by another class": """
        def make(a): return Case(a)
        class Case:
            def __init__(self, a): self.a = a
            def __reduce__(self): return fractions.Fraction, (1,)
            def run(self): return «1|2»
        CASE = Case(1)
        def f(): return CASE.run()""",
    "attribute of a function": """
        def g(): return g.rate
        g.rate = «1|2»
        def f(): return g()""",
    "circle of functions": """
        def g(n): return f(n - 1)
        def f(n=2): return «1|2» if n == 0 else g(n)""",
    "match": """
        def f():
            match {"a": 1}:
                case {"a": «1|2»}: return 1
            return 0""",
    "unused star": """
        def f(): return max([1, 2]«|, key=lambda x: -x»)""",
}

KEEPS = {
    "comment": "def f(): return 1  # «one|two»",
    "docstring": """
        def f():
            «"Of one."|"Of two, "»
            return 1""",
    "no docstring": """
        def f():
            «"Of one."|»
            return 1""",
    "docstring of a module": """
        «"Of one."|"Of two."»
        def f(): return 1""",
    "docstring of a class": """
        class Net:
            «"Of one."|"Of two."»
            def run(self):
                «"Of one."|"Of two."»
                return 1
        def f(): return Net().run()""",
    "docstring of a nested function": """
        def f():
            def g():
                «"Of one."|"Of two."»
                return 1
            return g()""",
    "docstring under a decorator": """
        @functools.lru_cache
        def f():
            «"Of one."|"Of two."»
            return 1""",
    "docstring of a property": """
        class Net:
            @property
            def a(self):
                «"Of one."|"Of two."»
                return 1
            @functools.cached_property
            def b(self):
                «"Of one."|"Of two."»
                return 1
        def f(): return Net().a + Net().b""",
    "unrelated function": """
        def g(): return «1|2»
        def f(): return 1""",
    "unrelated global": """
        RATE = «1|2»
        def f(): return 1""",
    "unrelated class": """
        class Net: rate = «1|2»
        def f(): return 1""",
    "unrelated part of a module beside": """
        RATE, UNREAD = 1, «1|2»
        ===
        import beside
        def f(): return beside.RATE""",
    "order of functions": """
        «def g(): return 1|RATE = 1»
        «RATE = 1|def g(): return 1»
        def f(): return g() + RATE""",
    "order of methods": """
        class Net:
            «def a(self): return 1|def b(self): return 2»
            «def b(self): return 2|def a(self): return 1»
        def f(): return Net().a()""",
    "order of a set": """
        X = {«"a", "b", "c"|"c", "b", "a"»}
        def f(): return sorted(X)""",
    "annotation": """
        def g(x«|: int») «|-> int»: return x
        def f(): return g(1)""",
    "annotation of a local": """
        def f():
            x«|: int» = 1
            return x""",
    "annotation of a class": """
        class Net:
            rate«|: int» = 1
            «|more: int»
        def f(): return Net.rate""",
    "formatting of a call": """
        def g(*x): return sum(x)
        def f(): return g(«1, 2, 3|
            1,
            2,
            3,
        »)""",
    "formatting of an expression": "def f(): return «1 + (2 * 3)|(1 +\n 2*3)»",
    "blank lines": """
        RATE = 1
        «|


        »
        def f():
            x = RATE
            «|
            # more

            »
            return x""",
    "quotes": "def f(): return «'a'|\"a\"»",
    "spelling of a number": "def f(): return «1000000|1_000_000»",
    "unused import": """
        «import json|import json, csv»
        def f(): return 1""",
    "order of a hook's registration": """
        NET = nn.Identity()
        «|NET.register_forward_hook(print).remove()»
        NET.register_forward_hook(lambda module, inputs, output: 2 * output)
        def f(): return NET(1)""",
    "size of a cache": """
        @functools.lru_cache
        def g(): return 1
        «|g()»
        def f(): return g()""",
    "a registry's cache": """
        @functools.singledispatch
        def g(x): return 1
        «|g(1)»
        def f(): return g(1)""",
    "a computed cached property": """
        class Net:
            @functools.cached_property
            def rate(self): return 1
        «|Net().rate»
        def f(): return Net().rate""",
}

REFUSED = {
    "computed name of a module's attribute": (
        "import beside\ndef f(name='g'): return getattr(beside, name)()",
        "reads beside as a whole",
    ),
    "literal name of a module's attribute": (
        "import beside\ndef f(): return getattr(beside, 'g')()",
        "reads beside as a whole",
    ),
    "attributes of a module as a dict": (
        "import beside\ndef f(): return beside.__dict__['g']()",
        "reads beside as a whole",
    ),
    "vars of a module": ("import beside\ndef f(): return vars(beside)['g']()", "reads beside as a whole"),
    "a module in a list": ("import beside\nX = [beside]\ndef f(): return X[0].g()", "reads beside as a whole"),
    "import_module": ("def f(): return importlib.import_module('beside').g()", "importlib.import_module"),
    "import_module by name": (
        "from importlib import import_module as load\ndef f(): return load('beside').g()",
        "importlib.import_module",
    ),
    "__import__": ("def f(): return __import__('beside').g()", "__import__"),
    "sys.modules": ("def f(): return sys.modules['beside'].g()", "sys.modules"),
    "eval": ("G = 1\ndef f(): return eval('G')", "eval"),
    "exec": ("G = 1\ndef f(): exec('print(G)')", "exec"),
    "globals": ("G = 1\ndef f(): return globals()['G']", "globals"),
    "globals of a function": ("G = 1\ndef f(): return f.__globals__['G']", "__globals__"),
    "file": ("FILE = sys.__stdin__\ndef f(): return FILE.read()", "FILE, .*TextIO"),
    "generator": ("G = (i for i in range(3))\ndef f(): return next(G)", "G, whose content"),
    "iterator": ("G = zip([1], [2])\ndef f(): return next(G)", "G, whose content"),
    "random numbers of numpy": ("RNG = np.random.default_rng(0)\ndef f(): return RNG.random()", "RNG, .*Generator"),
    "method of random numbers": (
        "draw = np.random.default_rng(0).random\ndef f(): return draw()",
        "draw, whose content",
    ),
    "random numbers of torch": ("RNG = torch.Generator()\ndef f(): return torch.rand(1, generator=RNG)", "RNG, "),
    "random numbers of Python": ("RNG = random.Random(0)\ndef f(): return RNG.random()", "RNG, .*Random"),
    "lock": ("LOCK = threading.Lock()\ndef f(): return LOCK", "LOCK, .*lock"),
    "frame": ("X = pd.DataFrame({'a': [1]})\ndef f(): return X", "X, .*DataFrame"),
    "frame in a class": ("class Net: x = pd.DataFrame({'a': [1]})\ndef f(): return Net.x", "x, .*DataFrame"),
    "frame of a function": ("def f(): return f.x\nf.x = pd.DataFrame({'a': [1]})", "DataFrame"),
    "frame of an object": (
        "class Net: pass\nNET = Net()\nNET.x = pd.DataFrame({'a': [1]})\ndef f(): return NET.x",
        "NET, .*DataFrame",
    ),
    "frame of a network": (
        "NET = nn.Identity()\nNET.x = pd.DataFrame({'a': [1]})\ndef f(): return NET.x",
        "NET, .*DataFr",
    ),
    "masked array": ("X = np.ma.array([1, 2], mask=[True, False])\ndef f(): return X.sum()", "X, .*MaskedArray"),
    "array of objects": ("X = np.array([{}])\ndef f(): return X", "X, .*ndarray"),
    "ufunc from a function": ("G = np.frompyfunc(lambda x: x, 1, 1)\ndef f(): return G(1)", "G, .*ufunc"),
    "weak reference": ("import weakref\nclass A: pass\nR = weakref.ref(A)\ndef f(): return R()", "R, .*"),
    "scripted network": ("NET = torch.jit.script(nn.Linear(1, 1))\ndef f(): return NET", "NET, .*Script"),
    "scripted function": (
        "@torch.jit.script\ndef g(x: int) -> int: return x\ndef f(): return g(1)",
        "g, .*ScriptFunction",
    ),
    "sparse tensor": ("X = torch.eye(2).to_sparse()\ndef f(): return X", "X, .*sparse"),
    "tensor without values": ("X = torch.empty(2, device='meta')\ndef f(): return X", "X, .*meta"),
    "list within itself": ("X = []\nX.append(X)\ndef f(): return X", "X|nested"),
    "code": ("CODE = compile('1', 'a', 'eval')\ndef f(): return CODE", "CODE, .*code"),
    "frame of the interpreter": ("def f(): return sys._getframe().f_globals", "f_globals"),
}

PREAMBLE = """import collections, contextlib, dataclasses, datetime, enum, fractions, functools, importlib, operator
import random, re, sys, threading, types, typing
import numpy as np, pandas as pd, torch, torch.fx, torch.nn.utils.parametrize
from torch import nn
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Imports of `book`, with `beside` if there is one, from texts that were written anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    def load(text):
        *beside, book = [re.sub(r"^        ", "", part, flags=re.M) for part in text.split("===")]
        for name, part in (("beside", beside[0] if beside else "def g(): return 1"), ("book", book)):
            (tmp_path / f"{name}.py").write_text(PREAMBLE + part)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("book").f

    yield load
    for name in ("book", "beside"):
        sys.modules.pop(name, None)


def both(load, text):
    """Keys and results before and after the change."""
    texts = [re.sub("«(.*?)\\|(.*?)»", side, text, flags=re.S) for side in (r"\1", r"\2")]
    found = [(fingerprint(key(f)), repr(f())) for f in map(load, texts)]
    assert fingerprint(key(load(texts[1]))) == found[1][0]  # the same again
    return zip(*found, strict=True)


@pytest.mark.parametrize("text", CHANGES.values(), ids=CHANGES)
def test_what_changes_the_result_changes_the_key(load, text):
    keys, results = both(load, text)
    assert results[0] != results[1]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("text", KEEPS.values(), ids=KEEPS)
def test_what_does_not_change_the_result_keeps_the_key(load, text):
    keys, results = both(load, text)
    assert results[0] == results[1]
    assert keys[0] == keys[1]


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_seen_is_refused_by_name(load, text, message):
    with pytest.raises(ValueError, match=message) as error:
        key(load(text))
    assert "argument" in str(error.value) or "import" in str(error.value)  # how to pass it


def test_a_module_that_is_imported_late_counts_alike_before_and_after():
    code = (
        "import sys; from workbook import store; from workbook.experiments import nb05_segmentation as study; "
        "before = store.key(study.measure), 'PIL' in sys.modules; import PIL.Image; "
        "after = store.key(study.measure), 'PIL' in sys.modules; "
        "print(store.fingerprint(before[0]) == store.fingerprint(after[0]), before[1], after[1])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "False", "True"]


def test_a_class_counts_alike_before_and_after_an_object_of_it_was_copied():
    """`copy` and `pickle` leave a mark on the class."""

    class Held:
        n = 1

    def made():
        return Held().n

    before = fingerprint(key(made))
    copy.copy(Held())
    assert "__slotnames__" in vars(Held)
    assert fingerprint(key(made)) == before


def test_a_module_that_lies_elsewhere_counts_alike(load):
    f = load("def f(): return __file__")
    before = fingerprint(key(f))
    f.__globals__["__file__"] = f.__globals__["__file__"].replace("book.py", "elsewhere/book.py")
    assert fingerprint(key(f)) == before
