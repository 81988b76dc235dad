"""Train a small neural network to tell three kinds of iris apart.

Needs nothing beyond Python's standard library. The trained model is written to `export.pkl`; if that
file is already there, training goes on from it, so every run leaves a slightly better model.
"""

import argparse
import csv
import math
import os
import pickle
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "iris.csv"
MODEL = HERE / "export.pkl"
HIDDEN = 8
LEARNING_RATE = 0.05
MOMENTUM = 0.8


def load_rows():
    """Return the measurements, standardised, with the number of their species."""
    with DATA.open(newline="") as file:
        table = list(csv.DictReader(file))
    names = sorted({row["species"] for row in table})
    columns = [name for name in table[0] if name != "species"]
    values = [[float(row[column]) for column in columns] for row in table]
    means = [sum(column) / len(column) for column in zip(*values)]
    spreads = [
        math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
        for column, mean in zip(zip(*values), means)
    ]
    inputs = [[(x - m) / s for x, m, s in zip(row, means, spreads)] for row in values]
    targets = [names.index(row["species"]) for row in table]
    return names, list(zip(inputs, targets))


def new_model(inputs, outputs):
    """Return a model that has learned nothing yet; the same one every time."""
    dice = random.Random(3)

    def matrix(rows, columns):
        return [[dice.gauss(0.0, 1.0 / math.sqrt(columns)) for _ in range(columns)] for _ in range(rows)]

    return {"epochs": 0, "hidden": matrix(HIDDEN, inputs + 1), "output": matrix(outputs, HIDDEN + 1)}


def load_model(inputs, outputs):
    """Return the model trained so far, or a new one."""
    try:
        with MODEL.open("rb") as file:
            return pickle.load(file)
    except FileNotFoundError:
        return new_model(inputs, outputs)


def save_model(model):
    """Write the model so that `export.pkl` is always either the old one or the new one, never half."""
    part = MODEL.with_suffix(".pkl.part")
    with part.open("wb") as file:
        pickle.dump(model, file, protocol=4)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, MODEL)


def forward(model, inputs):
    """Return the hidden layer's activations and the probability of each species."""
    hidden = [math.tanh(dot(weights, inputs)) for weights in model["hidden"]]
    scores = [dot(weights, hidden) for weights in model["output"]]
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return hidden, [power / total for power in powers]


def dot(weights, values):
    """Return the weighted sum of the values; the last weight is the bias."""
    return sum(w * v for w, v in zip(weights, values)) + weights[-1]


def gradients(model, rows):
    """Return the mean slope of the loss for every weight."""
    hidden_slopes = [[0.0] * len(weights) for weights in model["hidden"]]
    output_slopes = [[0.0] * len(weights) for weights in model["output"]]
    for inputs, target in rows:
        hidden, chances = forward(model, inputs)
        errors = [chance - (index == target) for index, chance in enumerate(chances)]
        add_outer(output_slopes, errors, hidden)
        back = [
            (1.0 - h * h) * sum(e * weights[i] for e, weights in zip(errors, model["output"]))
            for i, h in enumerate(hidden)
        ]
        add_outer(hidden_slopes, back, inputs)
    for slopes in hidden_slopes + output_slopes:
        slopes[:] = [slope / len(rows) for slope in slopes]
    return hidden_slopes, output_slopes


def add_outer(slopes, errors, values):
    """Add one row's share to the slopes of a layer."""
    for row, error in zip(slopes, errors):
        for i, value in enumerate(values):
            row[i] += error * value
        row[-1] += error


def measure(model, rows):
    """Return the mean loss and the share of rows told right."""
    loss, right = 0.0, 0
    for inputs, target in rows:
        _, chances = forward(model, inputs)
        loss -= math.log(max(chances[target], 1e-12))
        right += chances.index(max(chances)) == target
    return loss / len(rows), right / len(rows)


def train(model, rows, epochs):
    """Yield after every epoch of gradient descent with momentum."""
    layers = [model["hidden"], model["output"]]
    speeds = [[[0.0] * len(weights) for weights in layer] for layer in layers]
    for _ in range(epochs):
        for layer, speed, slopes in zip(layers, speeds, gradients(model, rows)):
            for weights, velocity, slope in zip(layer, speed, slopes):
                for i, s in enumerate(slope):
                    velocity[i] = MOMENTUM * velocity[i] - LEARNING_RATE * s
                    weights[i] += velocity[i]
        model["epochs"] += 1
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=50, help="how long to train (default: 50)")
    epochs = parser.parse_args().epochs

    names, rows = load_rows()
    # Every fifth flower is kept back, to see how the model does on flowers it was not shown.
    seen = [row for number, row in enumerate(rows) if number % 5]
    unseen = rows[::5]
    model = load_model(len(rows[0][0]), len(names))
    print(f"{len(seen)} flowers to learn from, {len(unseen)} to check with; {model['epochs']} epochs so far")
    for step, _ in enumerate(train(model, seen, epochs), start=1):
        if step % 10 == 0 or step == epochs:
            loss, _ = measure(model, seen)
            _, accuracy = measure(model, unseen)
            print(f"epoch {model['epochs']:4}  loss {loss:.6f}  accuracy {accuracy:.3f}", flush=True)
    save_model(model)
    print(f"wrote {MODEL.name}")


if __name__ == "__main__":
    main()
