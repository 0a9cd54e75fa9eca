"""What a teacher must beat to be worth distilling: TF-IDF and logistic regression on the demo's split.

python benchmarks/tfidf.py [r8|r52|20newsgroups]
"""

import sys

from _common import record
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from kd2deploy.data.reuters import reuters


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "r8"
    tables = reuters(name)  # type: ignore[arg-type]
    texts, labels = [[row[key] for row in tables.train] for key in ("text", "label")]
    rows = []
    for about, sublinear, strength in (
        ("scikit-learn's defaults", False, 1.0),
        ("sublinear counts, C = 10", True, 10.0),
    ):
        model = make_pipeline(TfidfVectorizer(sublinear_tf=sublinear), LogisticRegression(C=strength, max_iter=1000))
        model.fit(texts, labels)
        accuracy = model.score([row["text"] for row in tables.eval], [row["label"] for row in tables.eval])
        rows.append({"data": name, "TF-IDF + logistic regression": about, "accuracy": f"{accuracy:.4f}"})
    record(f"tfidf_{name}", rows, {})


if __name__ == "__main__":
    main()
