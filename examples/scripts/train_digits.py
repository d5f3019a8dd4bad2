"""Trains a small network on scikit-learn's handwritten digits; knows nothing of fanflare."""

import argparse
import json
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--num_train_epochs", type=int, default=20)
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--per_device_train_batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output_dir", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    images, labels = load_digits(return_X_y=True)
    rest, test, rest_labels, test_labels = train_test_split(  # the same splits for every seed
        images / 16, labels, test_size=400, random_state=0, stratify=labels
    )
    train, valid, train_labels, valid_labels = train_test_split(
        rest, rest_labels, test_size=400, random_state=0, stratify=rest_labels
    )
    model = MLPClassifier(
        hidden_layer_sizes=[args.hidden_size],
        learning_rate_init=args.learning_rate,
        batch_size=args.per_device_train_batch_size,
        random_state=args.seed,
    )
    for epoch in range(args.num_train_epochs):
        model.partial_fit(train, train_labels, classes=range(10))
        print(f"epoch {epoch + 1}: loss {model.loss_:.4f}")
    results = {
        "train_loss": model.loss_,
        "eval_accuracy": model.score(valid, valid_labels),
        "test_accuracy": model.score(test, test_labels),
    }
    args.output_dir.mkdir(parents=True, exist_ok=True)
    (args.output_dir / "all_results.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
