"""The yardstick of ``prepare.py``: what one would write to get a folder of images into an array.

python benchmarks/plain_loop.py FOLDER SIZE
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    images = []
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB").resize((size, size))))
    print(np.stack(images).shape)


if __name__ == "__main__":
    main()
