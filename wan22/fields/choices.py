"""The values that a field takes where they are few and known: by the name that the field's `choices` says.

Those of models are in the catalogue, those of direction in the vocabulary. A contract test holds these to the code that
reads them.
"""

CHOICES: dict[str, tuple[str, ...]] = {
    "solver": (
        "unipc", "dpm++", "euler", "distilled", "uni_pc", "uni_pc_bh2", "dpmpp_2m", "dpmpp_2m_sde", "res_multistep",
        "lcm", "heun", "euler_ancestral",
    ),
    "schedule": (
        "official", "simple", "normal", "sgm_uniform", "beta", "karras", "exponential", "ddim_uniform",
        "linear_quadratic", "kl_optimal",
    ),
    "task": ("t2v", "i2v", "v2v", "s2v", "animate"),
    "quality": ("high", "good", "draft"),
    "codec": ("h264", "hevc", "av1", "prores", "vp9", "gif"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "compute_dtype": ("auto", "float32", "bfloat16", "float16"),
    "quantize": ("none", "fp8", "int8", "int4", "fp8-weights", "int8-weights"),
    "vae_dtype": ("float32", "bfloat16"),
    "memory": ("auto", "device", "host", "disk", "stream", "ranks"),
    "attention": (
        "auto", "flash", "sdpa", "blocked", "flash3", "flash2", "sdpa_flash", "cudnn", "efficient", "sage", "flex",
    ),
}  # fmt: skip
"""Nothing else is taken."""
