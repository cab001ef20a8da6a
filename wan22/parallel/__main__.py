"""A follower: the process of one rank, which `group.Group.start` starts."""

from wan22.parallel.group import follow

if __name__ == "__main__":
    follow()
