"""imagewright: declarative, reproducible training of image classifiers.

The package is used through the stages of ``dvc.yaml`` and the command ``imagewright``; its layers are described in
``docs/architecture.md``.

Legend for the shapes in every docstring: B images in a batch, C channels, H height, W width (pixels), K classes,
N samples.
"""

import os

# Read when torch is loaded. While they wait, its threads would otherwise keep their cores busy: on a machine that also
# does something else, training a small network took up to five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["__version__"]

__version__ = "0.1.0"
