"""imagewright: declarative, reproducible training of image classifiers.

The package is used through the stages of ``dvc.yaml`` and the command ``imagewright``; its layers are described in
``docs/architecture.md``.

Legend for the shapes in every docstring: B images in a batch, C channels, H height, W width (pixels), K classes,
N samples.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
