"""Bytes on disk: images, clips and the recipe inside them. It knows no network, tensor or device."""
