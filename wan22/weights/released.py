"""What is known of the released files by their structure: variant names and latent statistics.

The identity of a structure is the MD5 of its sorted names and shapes, as DiffSynth's "model hash" takes it; it
does not depend on dtype. High and low experts of one model have the same structure.
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
}


def structure_hash(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The MD5 of a set of tensor names and shapes. Names are hashed as given, so give official ones."""
    words = [name for name in shapes]
    words += [f"{name}:{'_'.join(map(str, shape))}" for name, shape in shapes.items()]
    return hashlib.md5(",".join(sorted(words)).encode(), usedforsecurity=False).hexdigest()


# Mean and standard deviation of each latent channel, with which latents are normalised. They are constants of
# the official code, not tensors of its files.
MEAN_2_1 = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
STD_2_1 = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
MEAN_2_2 = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
    -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
    -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
    -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
    0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
STD_2_2 = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
    0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip
LATENT_STATISTICS = {16: (MEAN_2_1, STD_2_1), 48: (MEAN_2_2, STD_2_2)}
