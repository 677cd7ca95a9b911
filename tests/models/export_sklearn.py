"""Exports scikit-learn models with skl2onnx.

    python tests/models/export_sklearn.py [NAME...]

Run with Python 3.11 and `pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2
onnxruntime==1.32.0 numpy==2.4.6`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from export_common import Exported, exported, run, table_of
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

OPSETS = {"": 18, "ai.onnx.ml": 3}
FEATURES = 8
CLASSES = np.array(["birch", "oak", "pine"])


def features(rows: int) -> np.ndarray:
    """Random rows, as float32 so that the model and the framework start from the same."""
    return np.random.standard_normal((rows, FEATURES)).astype(np.float32)


def classes(rows: np.ndarray) -> np.ndarray:
    """A class from 0 to 2 for each row, by its features."""
    return (rows[:, 0] > 0).astype(np.int64) + (rows[:, 1] * rows[:, 2] > 0)


def amounts(rows: np.ndarray) -> np.ndarray:
    """A number for each row, by its features."""
    return rows[:, 0] + np.sin(2 * rows[:, 1]) - rows[:, 2] * rows[:, 3]


def classifier(estimator: BaseEstimator, labels: np.ndarray, **options: Any) -> Exported:
    """Fits `estimator` to `labels` of the three classes and exports it with its probabilities."""
    rows = features(200)
    estimator.fit(rows, labels[classes(rows)])
    model = convert(estimator, {"features": FloatTensorType([None, FEATURES])}, **options)
    samples = features(6)
    probabilities = estimator.predict_proba(samples).astype(np.float32)
    return exported(model, {"features": samples}, (estimator.predict(samples), probabilities))


def regressor(estimator: BaseEstimator, dtype: type[np.floating] = np.float32) -> Exported:
    """Fits `estimator` to numbers and exports it to compute in `dtype`."""
    rows = features(200)
    estimator.fit(rows.astype(dtype), amounts(rows).astype(dtype))
    tensor = DoubleTensorType if dtype is np.float64 else FloatTensorType
    model = convert(estimator, {"features": tensor([None, FEATURES])})
    samples = features(6).astype(dtype)
    found = estimator.predict(samples).astype(dtype).reshape(-1, 1)
    return exported(model, {"features": samples}, (found,))


def convert(estimator: BaseEstimator, inputs: Mapping[str, Any], **options: Any) -> Any:
    """The ONNX model of an estimator; `options` are those of its converter."""
    return to_onnx(
        estimator,
        initial_types=list(inputs.items()),
        target_opset=OPSETS,
        options={id(estimator): options} if options else None,
    )


def sklearn_mlp() -> Exported:
    """Labels are text; ZipMap is off."""
    return classifier(
        MLPClassifier(hidden_layer_sizes=(24, 16), max_iter=100), CLASSES, zipmap=False
    )


def sklearn_mlp_zipmap() -> Exported:
    """Labels are integers; the probabilities leave as a sequence of maps."""
    return classifier(
        MLPClassifier(hidden_layer_sizes=(16,), activation="tanh", max_iter=100),
        np.array([10, 20, 30]),
    )


def sklearn_logistic_pipeline() -> Exported:
    """Scaler, MatMul and LinearClassifier behind each other; labels are integers."""
    pipeline = make_pipeline(StandardScaler(), PCA(5), LogisticRegression())
    return classifier(pipeline, np.array([0, 1, 2]), zipmap=False)


def sklearn_logistic_zipmap() -> Exported:
    """Labels are text; the probabilities leave as a sequence of maps from text."""
    return classifier(make_pipeline(StandardScaler(), LogisticRegression()), CLASSES)


def sklearn_text_columns() -> Exported:
    """One input of text for OneHotEncoder, one of numbers for Scaler."""
    rows, names = features(200), np.array(["red", "green", "blue", "grey"], dtype=object)
    colors = names[np.random.randint(0, len(names), (200, 1))]
    columns = ColumnTransformer(
        [
            ("colors", OneHotEncoder(), [0]),
            ("numbers", StandardScaler(), list(range(1, FEATURES + 1))),
        ]
    )
    pipeline = make_pipeline(columns, MLPClassifier(hidden_layer_sizes=(12,), max_iter=100))
    pipeline.fit(np.hstack((colors, rows.astype(object))), classes(rows))
    inputs = {
        "colors": StringTensorType([None, 1]),
        "numbers": FloatTensorType([None, FEATURES]),
    }
    model = convert(pipeline, inputs, zipmap=False)
    whole = np.hstack((colors, rows.astype(object)))[:6]
    samples = {"colors": colors[:6].astype(str), "numbers": rows[:6]}
    probabilities = pipeline.predict_proba(whole).astype(np.float32)
    return exported(model, samples, (pipeline.predict(whole), probabilities))


def sklearn_forest() -> Exported:
    """Trees, as TreeEnsembleClassifier."""
    forest = RandomForestClassifier(8, max_depth=4, random_state=0)
    return classifier(forest, np.array([0, 1, 2]), zipmap=False)


def sklearn_svc() -> Exported:
    """A support vector machine with probabilities, as SVMClassifier."""
    return classifier(SVC(probability=True, random_state=0), np.array([0, 1, 2]), zipmap=False)


def sklearn_mlp_regressor() -> Exported:
    """Numbers in float32."""
    return regressor(MLPRegressor(hidden_layer_sizes=(32, 16), max_iter=100))


def sklearn_mlp_float64() -> Exported:
    """The same in float64, from input to output."""
    return regressor(MLPRegressor(hidden_layer_sizes=(16,), max_iter=100), np.float64)


def sklearn_gaussian_process() -> Exported:
    """Float64, with distances by Scan."""
    return regressor(GaussianProcessRegressor(alpha=0.1), np.float64)


def sklearn_kmeans() -> Exported:
    """The nearest cluster, by ArgMin, and the distances to all."""
    rows = features(100)
    estimator = KMeans(5, n_init=1).fit(rows)
    model = convert(estimator, {"features": FloatTensorType([None, FEATURES])})
    samples = features(6)
    outputs = (estimator.predict(samples).astype(np.int64), estimator.transform(samples))
    return exported(model, {"features": samples}, outputs)


MODELS = table_of(
    sklearn_mlp,
    sklearn_mlp_zipmap,
    sklearn_logistic_pipeline,
    sklearn_logistic_zipmap,
    sklearn_text_columns,
    sklearn_forest,
    sklearn_svc,
    sklearn_mlp_regressor,
    sklearn_mlp_float64,
    sklearn_gaussian_process,
    sklearn_kmeans,
)

if __name__ == "__main__":
    run(MODELS, np.random.seed)
