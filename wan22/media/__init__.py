"""Bytes on disk: pictures, clips and the recipe inside them. It knows no network, tensor or device."""
