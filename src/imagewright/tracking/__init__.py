"""Logging to MLflow: where runs are stored, one run, and what it says of code and data."""

import os

# Read when mlflow is imported: it would report its use over the network.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
