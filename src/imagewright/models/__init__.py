"""Networks: raw pixels or normalized images in, class logits out. A file of ``conf/model/`` names one.

A network is a ``torch.nn.Module`` built as ``Network(input_shape=(C, H, W), num_classes=K, **keys)``, whose keys are
those of its file in ``conf/model/``.
"""
