"""Sources, splits, the packed store, statistics, augmentation and the loader.

Only ``loader`` and ``augmentation`` import torch (the latter because Albumentations does).
"""
