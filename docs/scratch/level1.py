"""Level 1 in one file: the engine of pages 1 and 2 with arrays for numbers, a GPT, and twelve strings to memorise.

    python docs/scratch/level1.py

Needs NumPy and nothing else, not even this package. `bestguess.scratch.engine` is the same with names and checks.
"""

import numpy as np


class Number:  # page 1: a value, what it was made from, and how to send a gradient back
    def __init__(self, value, parents=(), backward=lambda g: ()):
        self.value, self.parents, self.backward, self.grad = np.asarray(value), parents, backward, 0.0

    def __add__(self, other):
        return Number(self.value + other.value, (self, other), lambda g: (fold(g, self), fold(g, other)))

    def __mul__(self, other):
        x, y = self.value, other.value
        return Number(x * y, (self, other), lambda g: (fold(g * y, self), fold(g * x, other)))

    def __matmul__(self, other):  # page 3 derives this
        x, y, flip = self.value, other.value, lambda a: a.swapaxes(-1, -2)
        return Number(x @ y, (self, other), lambda g: (fold(g @ flip(y), self), fold(flip(x) @ g, other)))

    def __pow__(self, n):
        return Number(self.value**n, (self,), lambda g: (g * n * self.value ** (n - 1),))

    def __getitem__(self, index):
        def backward(g):
            out = np.zeros_like(self.value)
            np.add.at(out, index, g)  # what was taken twice gets both gradients
            return (out,)

        return Number(self.value[index], (self,), backward)

    def reshape(self, *shape):
        return Number(self.value.reshape(shape), (self,), lambda g: (g.reshape(self.value.shape),))

    def transpose(self, *axes):
        return Number(self.value.transpose(axes), (self,), lambda g: (g.transpose(np.argsort(axes)),))

    def mean(self):  # over the last axis, which stays
        n = self.value.shape[-1]
        return Number(self.value.mean(-1, keepdims=True), (self,), lambda g: (np.repeat(g / n, n, -1),))

    def tanh(self):
        y = np.tanh(self.value)
        return Number(y, (self,), lambda g: (g * (1 - y * y),))

    def softmax(self):  # over the last axis
        e = np.exp(self.value - self.value.max(-1, keepdims=True))
        y = e / e.sum(-1, keepdims=True)
        return Number(y, (self,), lambda g: (y * (g - (g * y).sum(-1, keepdims=True)),))

    def log(self):
        return Number(np.log(self.value), (self,), lambda g: (g / self.value,))


def fold(g, parent):  # page 3: what was broadcast gets the sum of its copies' gradients
    shape = parent.value.shape
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def send(end):  # page 2: each node once, after all that use it
    order, seen, stack = [], set(), [(end, False)]
    while stack:
        node, parents_are_done = stack.pop()
        if parents_are_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *[(parent, False) for parent in node.parents]]
    end.grad = np.ones_like(end.value)
    for node in reversed(order):
        for parent, part in zip(node.parents, node.backward(node.grad)):
            parent.grad = parent.grad + part


# A GPT with 4,624 parameters: 37 tokens, 16 features, one block, two heads, at most 8 tokens

STRINGS = ["ALPHA", "ARRAY", "ASCII", "BYTES", "CACHE", "DEBUG", "FLOAT", "GRAPH", "INDEX", "LOOPS", "QUEUE", "STACK"]
LETTERS = " ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"  # a blank is padding; none of these strings needs it
V, D, H, P = len(LETTERS), 16, 2, 8
rng = np.random.default_rng(0)
matrices = {"tokens": (V, D), "places": (P, D), "qkv": (D, 3 * D), "out": (D, D), "up": (D, 4 * D), "down": (4 * D, D)}
matrices["head"] = (D, V)
p = {name: Number(rng.normal(0, shape[0] ** -0.5, shape)) for name, shape in matrices.items()}
p |= {name + "0": Number(np.zeros(p[name].value.shape[1])) for name in ("qkv", "out", "up", "down")}  # biases
p |= {norm: Number([np.ones(D), np.zeros(D)]) for norm in ("norm1", "norm2", "norm3")}  # gains and biases


def layer_norm(x, gain_bias):
    centred = x + x.mean() * Number(-1.0)
    deviation = ((centred * centred).mean() + Number(1e-5)) ** 0.5
    return centred * deviation**-1 * gain_bias[0] + gain_bias[1]


def gelu(x):
    inner = (x + x * x * x * Number(0.044715)) * Number((2 / np.pi) ** 0.5)
    return x * Number(0.5) * (inner.tanh() + Number(1.0))


def attention(x):
    B, T, _ = x.value.shape
    qkv = (x @ p["qkv"] + p["qkv0"]).reshape(B, T, 3, H, D // H).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]  # each (batch, heads, tokens, features)
    future = Number(np.triu(np.full((T, T), -1e9), 1))
    weights = (q @ k.transpose(0, 1, 3, 2) * Number((D // H) ** -0.5) + future).softmax()
    return (weights @ v).transpose(0, 2, 1, 3).reshape(B, T, D) @ p["out"] + p["out0"]


def gpt(index):  # (batch, tokens) to probabilities of the next token (batch, tokens, V)
    x = p["tokens"][index] + p["places"][: index.shape[1]]
    x = x + attention(layer_norm(x, p["norm1"]))
    x = x + gelu(layer_norm(x, p["norm2"]) @ p["up"] + p["up0"]) @ p["down"] + p["down0"]
    return (layer_norm(x, p["norm3"]) @ p["head"]).softmax()


whole = np.array([[LETTERS.index(c) for c in s] for s in STRINGS])
inputs, targets = whole[:, :-1], whole[:, 1:]
rows, columns = np.indices(targets.shape)
mean, square = dict.fromkeys(p, 0.0), dict.fromkeys(p, 0.0)
for step in range(1, 301):
    for t in p.values():
        t.grad = 0.0
    nll = gpt(inputs)[rows, columns, targets].log() * Number(-1.0)
    loss = nll.reshape(1, -1).mean()
    send(loss)
    for name, t in p.items():  # page 6: Adam
        mean[name] = 0.9 * mean[name] + 0.1 * t.grad
        square[name] = 0.99 * square[name] + 0.01 * t.grad**2
        change = mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.99**step)) + 1e-8)
        t.value = t.value - 0.01 * change
    if step % 60 == 0:
        print(f"step {step}: loss {loss.value.item():.4f} (3 ln 3 / 48 = {3 * np.log(3) / 48:.4f} at best)")

correct = 0
for s in STRINGS:
    index = [LETTERS.index(s[0])]
    while len(index) < len(s):
        index.append(int(gpt(np.array([index])).value[0, -1].argmax()))
    written = "".join(LETTERS[i] for i in index)
    correct += written == s
    print(f"  {s[0]} → {written}" + ("" if written == s else f"   (expected {s})"))
parameters = sum(t.value.size for t in p.values())
print(f"{correct} of 12 right with {parameters:,} parameters; 10 are the most that can be, as three start with A")
