"""How many steps the high-noise expert takes, against the official rule."""

from wan22.sampling import high_noise_steps, levels


def test_the_high_noise_expert_takes_the_official_number_of_steps(sizes):
    assert sizes["expert_split_unipc"]
    for case in sizes["expert_split_unipc"]:
        schedule = levels("unipc", case["steps"], case["shift"])
        assert high_noise_steps(schedule, case["boundary"]) == case["high_noise_steps"], case
