"""Which expert the name of a file says it is for."""

import re
from pathlib import PurePosixPath

import pytest

from wan22.weights.experts import expert_of

PAIRS = """
wan2.2_t2v_A14b_high_noise_lora_rank64_lightx2v_4step_1217  wan2.2_t2v_A14b_low_noise_lora_rank64_lightx2v_4step_1217
Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16             Wan2.2-Lightning_T2V-A14B-4steps-lora_LOW_fp16
Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ                   Wan2_2-I2V-A14B-LOW_fp8_e4m3fn_scaled_KJ
wan22_i2v_HIGH_lightx2v_4step_lora                          wan22_i2v_LOW_lightx2v_4step_lora
wan22_i2v_High_LightX2V_v2                                  wan22_i2v_Low_LightX2V_v2
Wan2.2-T2V-A14B-HighNoise-Q4_K_M                            Wan2.2-T2V-A14B-LowNoise-Q4_K_M
smoothMixWan22I2VT2V_i2vHigh                                smoothMixWan22I2VT2V_i2vLow
dasiwaWAN22I2V14B_synthHighV9                               dasiwaWAN22I2V14B_synthLowV9
remix_t2vHIGHNOISEFP8                                       remix_t2vLOWNOISEFP8
WANI2VHIGH                                                  WANI2VLOW
mixV2Q8High                                                mixV2Q8Low
styleHDRHigh                                               styleHDRLow
cat_high_lighting_v1                                        cat_low_lighting_v1
WAN22_HIGH_LIGHTNING                                        WAN22_LOW_LIGHTNING
i2vhigh                                                     i2vlow
style_highfp8                                               style_lowfp8
cat-HIGHi2v                                                 cat-LOWi2v
cat_HIGHnoise                                               cat_LOWnoise
cat-hinoise                                                 cat-lonoise
cat hi-noise                                                cat lo-noise
HN_cat                                                      LN_cat
cat-HN-v2                                                   cat-LN-v2
cat_hn                                                      cat_ln
t2vHN                                                       t2vLN
high_cat                                                    low_cat
cat.high                                                    cat.low
slow_motion_HIGH                                            slow_motion_LOW
highres_fix_HIGH                                            highres_fix_LOW
low_light_high_noise                                        high_angle_low_noise
HighNoise/model                                             LowNoise/model
high_noise_model/low_light                                  low_noise_model/high_angle
pairs of high and low/cat_HIGH                              pairs of high and low/cat_LOW
cat_highnoise_merged                                        cat_lownoise_merged
CAT_HIGH_NOISE                                              CAT_LOW_NOISE
猫_高噪声  猫_低噪声
"""


@pytest.mark.parametrize(
    ("high", "low"), [re.split(r" {2,}", line) for line in PAIRS.strip().splitlines()], ids=lambda name: name
)
def test_a_name_tells_the_expert(high, low):
    assert (expert_of(high), expert_of(low)) == ("high", "low")
    assert expert_of(PurePosixPath(f"folder/{high}.safetensors")) == "high"


@pytest.mark.parametrize(
    "name",
    "highres HighRes HIGHRES high_res slow SLOW slow-motion Slow_Mo flow Flow FLOW yellow YELLOW glow GLOW Glow "
    "neonGlow highlight HighLight HIGHLIGHT highlights below BELOW follow window shadow lower lowpoly LowPoly low_poly "
    "lowkey low-key low_light_cinema LowLight high-angle_v2 high_angle LowAngleShot lowvram low_vram lowVRAM highway "
    "thigh Thigh thigh_high knee-high higher high_quality HighQuality highly hollow pillow shallow blow overflow "
    "high_noise_and_low_noise HighLow high_low style cat-H-v1 cat_L h l 4step lightning hnoisy llnoise low-rank "
    "low_rank high_fps HighSpeed high-contrast low_resolution VHSglow white_noise brownoise".split(),
)
def test_other_words_name_none(name):
    assert expert_of(name) is None
    assert expert_of(f"cat_{name}_v2") is None
