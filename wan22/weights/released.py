"""Know the released files by their structure.

The identity of a structure is the MD5 of its sorted names and shapes, by the recipe of DiffSynth's hashes.
It does not depend on dtype. The high and low experts of one model have the same.
"""

import hashlib
from collections.abc import Mapping

VARIANTS: Mapping[str, str] = {
    "aafcfd9672c3a2456dc46e1cb6e52c70": "t2v-A14B",
    "5b013604280dd715f8457c6ed6d6a626": "i2v-A14B",
    "1f5ab7703c6fc803fdded85ff040c316": "ti2v-5B",
    "966cffdcc52f9c46c391768b27637614": "s2v-14B",
    "31fa352acb8a1b1d33cd8764273d80a2": "animate-14B",
    "ccc42284ea13e1ad04693284c7a09be6": "vae-2.1",
    "e1de6c02cdac79f8b739f4d3698cd216": "vae-2.2",
    "9c8818c2cbea55eca56c7b447df170da": "umt5-xxl",
    "06be60f3a4526586d8431cd038a71486": "wav2vec2-large-xlsr-53-english",
    "ca3c117ad8ffae6b9a3afed04baa17f1": "clip-vit-h-14",  # of the image tower alone
    "a12eb5f9b11bac7799e13662b3725b45": "clip-vit-h-14",  # which transformers has without its projection, too
}


def structure_hash(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The MD5 of a set of tensor names and shapes. Names are hashed as given, so give official ones."""
    words = list(shapes)
    words += [f"{name}:{'_'.join(map(str, shape))}" for name, shape in shapes.items()]
    return hashlib.md5(",".join(sorted(words)).encode(), usedforsecurity=False).hexdigest()
