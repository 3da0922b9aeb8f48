"""The stages of ``dvc.yaml``: each reads files, calls the layers below, and writes files.

A stage is one module, ``python -m imagewright.stages.<stage>``, and gets its paths from ``dvc.yaml``. Stages never
import each other; they meet through files.
"""
